/**
 * The upper half (bytes 80 to FF) of the two DOS code pages that Excel's "CSV (MS-DOS)" and old till systems still write.
 * The Encoding Standard, and so TextDecoder, has neither. Source: unicode.org, Public/MAPPINGS/VENDORS/MICSFT/PC.
 */
const CODE_PAGES: Record<string, string> = {
  cp437:
    'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0',
  cp850:
    'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u00ad±‗¾¶§÷¸°¨·¹³²■\u00a0',
}

/** A decoder of a DOS code page by its label (`cp850`, `ibm850`), or undefined. Every byte means something in it. */
export function codePage(label: string): ((bytes: Uint8Array) => string) | undefined {
  const upper = CODE_PAGES[label.toLowerCase().replace(/^ibm-?/, 'cp')]
  if (upper === undefined) return undefined
  return (bytes) =>
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      .toString('latin1')
      .replace(/[\x80-\xff]/g, (character) => upper[character.charCodeAt(0) - 0x80]!)
}
