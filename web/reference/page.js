// Shows /api/openapi.json, and sends requests to this very server. Nothing is loaded from elsewhere, and the token stays in this page.

/** An element with properties and children. */
function element(name, properties = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(properties)) {
    if (key === 'data') Object.assign(made.dataset, value)
    else if (key === 'for') made.htmlFor = value
    else made[key] = value
  }
  made.append(...children)
  return made
}

/** Text with `code` in it. */
function inline(text) {
  return text.split(/(`[^`]+`)/).map((part) => part.startsWith('`') && part.length > 1 ? element('code', {}, part.slice(1, -1)) : part)
}

const paragraphs = (text) => text.split('\n\n').map((part) => element('p', {}, ...inline(part.replaceAll('\n', ' '))))

const search = document.getElementById('search')
const token = document.getElementById('token')
const contents = document.getElementById('contents')
const routes = document.getElementById('routes')

/** What the shell takes for this text. */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`

/** The request that a form describes. */
function request(method, path, operation, values) {
  let address = path
  const query = new URLSearchParams()
  const headers = {}
  for (const { name, in: place } of operation.parameters) {
    const value = values.get(`${place}:${name}`) ?? ''
    // A dashboard's name may have slashes.
    if (place === 'path') address = address.replace(`{${name}}`, value.split('/').map(encodeURIComponent).join('/'))
    else if (value === '') continue
    else if (place === 'query') query.set(name, value)
    else headers[name] = value
  }
  if (query.size > 0) address += `?${query}`
  const body = operation.requestBody ? values.get('body') ?? '' : undefined
  if (body !== undefined) headers['Content-Type'] = values.get('type')
  if (token.value) headers.Authorization = `Bearer ${token.value}`
  return { method: method.toUpperCase(), address, headers, body }
}

/** The same for a shell, without the token itself. */
function curl({ method, address, headers, body }) {
  const lines = [`curl -X ${method} ${quoted(location.origin + address)}`]
  for (const [name, value] of Object.entries(headers)) {
    lines.push(`-H ${name === 'Authorization' ? `"Authorization: Bearer $TOKEN"` : quoted(`${name}: ${value}`)}`)
  }
  if (body !== undefined) lines.push(`--data-binary ${quoted(body)}`)
  return lines.join(' \\\n  ')
}

const BYTES_SHOWN = 200_000

/** Sends a request, and shows what comes back. A stream is shown as it comes. */
async function send(call, output, stop) {
  const status = element('p', { className: 'status' }, 'Sending …')
  const shown = element('pre', { tabIndex: 0 })
  output.replaceChildren(status)
  try {
    const { method, address, headers, body } = call
    const began = performance.now()
    const answer = await fetch(address, { method, headers, body, signal: stop.signal, cache: 'no-store' })
    status.textContent = `${answer.status} ${answer.statusText} · ${Math.round(performance.now() - began)} ms`
    status.dataset.bad = String(!answer.ok)
    const told = ['etag', 'link', 'location', 'retry-after'].filter((name) => answer.headers.has(name))
    if (told.length > 0) output.append(element('p', { className: 'needs' }, told.map((name) => `${name}: ${answer.headers.get(name)}`).join(' · ')))
    output.append(shown)
    const type = answer.headers.get('content-type') ?? ''
    if (type.startsWith('text/event-stream')) {
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
      for (let part = await reader.read(); !part.done; part = await reader.read()) {
        shown.textContent = (shown.textContent + part.value).slice(-BYTES_SHOWN)
      }
      return
    }
    const bytes = await answer.arrayBuffer()
    if (!type.includes('json') && !type.startsWith('text/')) {
      shown.textContent = bytes.byteLength === 0 ? '(empty)' : `${bytes.byteLength} bytes of ${type || 'no type'}`
      return
    }
    let text = new TextDecoder().decode(bytes)
    if (type.includes('json')) text = JSON.stringify(JSON.parse(text), null, 2)
    shown.textContent = text.length > BYTES_SHOWN ? `${text.slice(0, BYTES_SHOWN)}\n… ${text.length - BYTES_SHOWN} more` : text
  } catch (failure) {
    if (stop.signal.aborted) {
      status.textContent = 'Stopped'
      return
    }
    status.textContent = `Nothing came back: ${failure.message}`
    status.dataset.bad = 'true'
  }
}

let fields = 0

function field(name, label, input) {
  const id = `field-${fields += 1}`
  Object.assign(input, { id, name })
  return element('div', { className: 'field' }, element('label', { for: id }, label), input)
}

/** The form that tries a route. */
function form(method, path, operation) {
  const inputs = operation.parameters.map(({ name, in: place, required, description }) => {
    const input = element('input', { required: required === true, autocomplete: 'off', spellcheck: false })
    if (place === 'path' && name === 'name' && path.startsWith('/api/dashboards/')) input.placeholder = 'workspace/name'
    if (description) input.title = description.replaceAll('`', '')
    return field(`${place}:${name}`, name, input)
  })
  const body = operation.requestBody
  if (body) {
    const types = Object.keys(body.content).map((type) => element('option', {}, type))
    inputs.push(field('type', 'Content-Type', element('select', {}, ...types)))
    inputs.push(field('body', 'Body', element('textarea', { spellcheck: false })))
  }
  const line = element('pre', { tabIndex: 0 })
  const output = element('div')
  output.setAttribute('aria-live', 'polite')
  const halt = element('button', { type: 'button', className: 'quiet', hidden: true }, 'Stop')
  const go = element('button', {}, 'Send')
  const made = element('form', { noValidate: false }, ...inputs, line, element('div', { className: 'actions' }, go, halt), output)
  const current = () => request(method, path, operation, new Map(new FormData(made)))
  const show = () => { line.textContent = curl(current()) }
  made.addEventListener('input', show)
  token.addEventListener('input', show)
  made.addEventListener('submit', async (event) => {
    event.preventDefault()
    const stop = new AbortController()
    halt.onclick = () => stop.abort()
    Object.assign(go, { disabled: true })
    halt.hidden = false
    await send(current(), output, stop)
    Object.assign(go, { disabled: false })
    halt.hidden = true
  })
  show()
  return made
}

/** Everything about a route. The form is made when somebody opens it. */
function section(method, path, operation) {
  const rows = []
  const row = (term, ...about) => rows.push(element('dt', {}, ...term), element('dd', {}, ...about))
  for (const { name, in: place, description } of operation.parameters) {
    if (description) row([element('code', {}, place === 'query' ? `?${name}=` : name)], ...inline(description))
  }
  if (operation.requestBody) row(['Body'], ...inline(operation.requestBody.description))
  const problems = []
  for (const [status, { description }] of Object.entries(operation.responses)) {
    if (status >= '400') problems.push(status)
    else row([status], ...inline(description))
  }
  row(['Problems'], problems.join(', '))
  const tries = element('details', {}, element('summary', {}, 'Try it'))
  tries.addEventListener('toggle', () => {
    if (tries.open && tries.childElementCount === 1) tries.append(form(method, path, operation))
  })
  const needs = operation['x-needs']
  return element('section', { className: 'route', id: operation.operationId },
    element('h2', {}, ...inline(operation.summary)),
    element('p', { className: 'address', data: { method } },
      element('span', { className: 'method' }, method.toUpperCase()), element('span', { className: 'path' }, path)),
    ...(needs.length > 0 ? [element('p', { className: 'needs' }, `Needs: ${needs.join(', ')}`)] : []),
    element('div', { className: 'about' }, ...paragraphs(operation.description)),
    element('dl', {}, ...rows), tries)
}

function link(method, operation) {
  return element('a', { href: `#${operation.operationId}`, data: { method } },
    element('span', { className: 'method' }, method.toUpperCase()), element('span', {}, ...inline(operation.summary)))
}

/** What most come for stands first. */
const FIRST = ['/api/dashboards', '/api/workspaces']
const METHODS = ['get', 'put', 'patch', 'post', 'delete']

function inOrder(paths) {
  const rank = (path) => (FIRST.findIndex((first) => path.startsWith(first)) + FIRST.length + 1) % (FIRST.length + 1)
  const all = Object.entries(paths).sort(([one], [other]) => rank(one) - rank(other) || (one < other ? -1 : 1))
  return all.flatMap(([path, methods]) => METHODS.filter((method) => method in methods).map((method) => [path, method, methods[method]]))
}

async function begin() {
  const intro = document.getElementById('intro')
  try {
    const { info, paths } = await (await fetch('/api/openapi.json')).json()
    intro.append(...inline(info.description), ' Try it sends requests to this server: what they write is written. ',
      element('a', { href: '/api/openapi.json' }, 'openapi.json'))
    const all = []
    for (const [path, method, operation] of inOrder(paths)) {
      const made = [section(method, path, operation), link(method, operation)]
      const text = `${method} ${path} ${operation.summary} ${operation.description}`.toLowerCase()
      all.push({ made, text })
      routes.append(made[0])
      contents.append(made[1])
    }
    search.addEventListener('input', () => {
      const words = search.value.toLowerCase().split(/\s+/)
      for (const { made, text } of all) {
        const isMeant = words.every((word) => text.includes(word))
        made.forEach((one) => { one.hidden = !isMeant })
      }
    })
    // What the address names was not there when the page was opened.
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView()
  } catch (failure) {
    intro.textContent = `The routes cannot be read: ${failure.message}`
  }
}

await begin()
