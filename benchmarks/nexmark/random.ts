/** A seeded source of numbers: the same ones for the same seed on any machine (sfc32, Chris Doty-Humphrey's PractRand). */
export class Random {
  #a: number
  #b: number
  #c = 0x9e3779b9 | 0
  #counter = 1

  /** Different `stream`s of one seed have nothing to do with each other. */
  constructor(seed: number, stream = 0) {
    this.#a = seed | 0
    this.#b = Math.imul(stream + 1, 0x85ebca6b)
    for (let i = 0; i < 16; i++) this.bits()
  }

  /** 32 bits, as a signed integer. */
  bits(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum
  }

  /** From 0 up to, not including, 1. */
  unit(): number {
    return (this.bits() >>> 0) / 0x1_0000_0000
  }

  /** A whole number from 0 up to, not including, `n`. */
  below(n: number): number {
    return Math.floor(this.unit() * n)
  }
}
