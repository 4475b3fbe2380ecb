/**
 * Whether an error's code tells of certificates or of what is spoken on a connection: then it does not pass by itself, as a connection
 * that breaks does (https://nodejs.org/api/tls.html#x509-certificate-error-codes, https://nodejs.org/api/errors.html).
 */
export function isTlsFault(code: string): boolean {
  if (BROKEN_OFF.has(code)) return false
  return /^(?:ERR_TLS|ERR_SSL|ERR_OSSL|EPROTO$|CERT_|CRL_|UNABLE_TO_|SELF_SIGNED|DEPTH_ZERO|HOSTNAME_MISMATCH|HPE_INVALID)/.test(
    code,
  )
}

const BROKEN_OFF = new Set(['ERR_SSL_UNEXPECTED_EOF_WHILE_READING', 'ERR_TLS_HANDSHAKE_TIMEOUT'])
