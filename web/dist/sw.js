// Keeps the page for when there is no network: what is edited offline is kept in the browser, and so is what shows it.
//
// The network comes first for everything that can change; a binary's upgrade shows at the next reload.

const CACHE = 'ydash-fd5d4317d24c5474'
const FILES = ['/', '/app.css', '/app.js', '/chunk-2X5JM4KU.js', '/chunk-3F6OY7ZL.js', '/chunk-4OTNCMHU.js', '/chunk-5EK5BYPF.js', '/chunk-5GJK4HZI.js', '/chunk-AOI3CSX3.js', '/chunk-BI7C2CR6.js', '/chunk-BOOPRUXN.js', '/chunk-DW34UCTS.js', '/chunk-DWBASTMD.js', '/chunk-DX74UMGQ.js', '/chunk-EFKWUHM7.css', '/chunk-EK36LTX4.js', '/chunk-FIB7YZC6.js', '/chunk-FQZ5YPWO.js', '/chunk-HU55JLEX.js', '/chunk-IEMFEXSZ.js', '/chunk-IJRNNGXQ.js', '/chunk-ISZVT2MD.js', '/chunk-KBNFA7RJ.js', '/chunk-MPJX4UXB.js', '/chunk-NHNWX2YJ.js', '/chunk-O5BAF537.js', '/chunk-R5EJLGDQ.js', '/chunk-RSOWKFNW.js', '/chunk-SQE76S5B.js', '/chunk-TDCITO4K.js', '/chunk-UEKQD72S.js', '/chunk-UGBDKNNC.js', '/chunk-W7V6PY6Z.js', '/chunk-YODZV5VZ.js', '/chunk-Z34O573M.js', '/chunk-inter-latin-wght-normal-NRMW37G5.woff2', '/icon.svg']

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
