// Keeps the page for when there is no network: what is edited offline is kept in the browser, and so is what shows it.
//
// The network comes first for everything that can change; a binary's upgrade shows at the next reload.

const CACHE = 'ydash-45395faa61e8b5c7'
const FILES = ['/', '/app.css', '/app.js', '/chunk-2SYQSTGG.js', '/chunk-4VMX3MCQ.js', '/chunk-5EK5BYPF.js', '/chunk-5GJK4HZI.js', '/chunk-5VU3XSDS.js', '/chunk-5XGUDDCP.js', '/chunk-6BOQ4UTO.js', '/chunk-AOI3CSX3.js', '/chunk-BI7C2CR6.js', '/chunk-BOOPRUXN.js', '/chunk-DQZV5JYG.js', '/chunk-DWBASTMD.js', '/chunk-DYTQ7DY5.js', '/chunk-FEKS753J.js', '/chunk-FIB7YZC6.js', '/chunk-FQDEZJY4.js', '/chunk-GBOK5V5W.js', '/chunk-HLE2RVML.js', '/chunk-HU55JLEX.js', '/chunk-I4NK57U7.js', '/chunk-IJRNNGXQ.js', '/chunk-ISZVT2MD.js', '/chunk-J4XNGX5N.js', '/chunk-LQIQXP5U.js', '/chunk-N2WS35CM.js', '/chunk-OOBNY7XM.js', '/chunk-P2QPN6GT.js', '/chunk-QA3R66NH.js', '/chunk-SQE76S5B.js', '/chunk-SSYOOSPR.js', '/chunk-VH2U33M5.js', '/chunk-YHKIEKJO.js', '/chunk-ZTKDGSP6.js', '/chunk-ZZT2A27Z.js', '/chunk-inter-latin-wght-normal-NRMW37G5.woff2', '/icon.svg']

addEventListener('install', event => {
  event.waitUntil(caches.open(CACHE).then(cache => cache.addAll(FILES)).then(() => skipWaiting()))
})

addEventListener('activate', event => {
  const isOld = name => name.startsWith('ydash-') && name !== CACHE
  event.waitUntil(caches.keys().then(names => Promise.all(names.filter(isOld).map(name => caches.delete(name)))).then(() => clients.claim()))
})

addEventListener('fetch', event => {
  const { request } = event
  const { origin, pathname } = new URL(request.url)
  if (request.method !== 'GET' || origin !== location.origin) return
  const isPage = request.mode === 'navigate' && (pathname === '/' || pathname.startsWith('/d/'))
  const path = isPage ? '/' : pathname
  if (!FILES.includes(path)) return
  // Files that are named by their content are the same wherever they come from.
  if (path.startsWith('/chunk-')) event.respondWith(caches.match(path).then(kept => kept ?? fetch(request)))
  else event.respondWith(fetch(request).then(answer => answer.ok ? answer : Promise.reject(new Error(String(answer.status)))).catch(error => caches.match(path).then(kept => kept ?? Promise.reject(error))))
})
