// Tokens as a backend signs them, by jose: an implementation that shares nothing with the server's.

import { SignJWT } from 'jose'

export const SECRET = 'a secret of at least thirty-two bytes'

/** A token of ydash's own issuer that lets `user` edit everything in the workspace default. */
export function token (user, { seconds = 3600, role = 'editor', ...claims } = {}) {
  return new SignJWT({ grants: { 'default/*': role }, ...claims })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuer('ydash')
    .setAudience('ydash')
    .setSubject(user)
    .setIssuedAt()
    .setExpirationTime(Math.floor(Date.now() / 1000) + seconds)
    .sign(new TextEncoder().encode(SECRET))
}
