/** Turns the text of a file, piece by piece, into records. `push` and `end` throw when the file as a whole cannot be read. */
export interface Framer {
  push(text: string): void
  end(): void
}
