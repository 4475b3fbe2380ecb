/**
 * Bytes 80 to FF of code pages that TextDecoder cannot be relied on for. Sources: unicode.org, Public/MAPPINGS/VENDORS/MICSFT, and the
 * index of the Encoding Standard.
 *
 * - cp437, cp850: what Excel's "CSV (MS-DOS)" and old till systems still write; the Encoding Standard has neither.
 * - windows-1252: some versions of Node (20.20 for one) take it for ISO 8859-1, and bytes 80 to 9F for control characters.
 */
const CODE_PAGES: Record<string, string> = {
  cp437:
    'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0',
  cp850:
    'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜø£Ø×ƒáíóúñÑªº¿®¬½¼¡«»░▒▓│┤ÁÂÀ©╣║╗╝¢¥┐└┴┬├─┼ãÃ╚╔╩╦╠═╬¤ðÐÊËÈıÍÎÏ┘┌█▄¦Ì▀ÓßÔÒõÕµþÞÚÛÙýÝ¯´\u00ad±‗¾¶§÷¸°¨·¹³²■\u00a0',
  'windows-1252':
    '€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ\u00a0¡¢£¤¥¦§¨©ª«¬\u00ad®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ',
}

/** A decoder of a code page above by its name (`cp850`, `ibm850`), or undefined. Every byte means something in it. */
export function codePage(label: string): ((bytes: Uint8Array) => string) | undefined {
  const upper = CODE_PAGES[label.toLowerCase().replace(/^ibm-?/, 'cp')]
  if (upper === undefined) return undefined
  return (bytes) =>
    Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      .toString('latin1')
      .replace(/[\x80-\xff]/g, (character) => upper[character.charCodeAt(0) - 0x80]!)
}
