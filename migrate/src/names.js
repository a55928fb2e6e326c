// From a document's name in the old server to its dashboard, `workspace/name`, and back.
//
// The rules are those by which ydash itself names what a client opens (docs/PROTOCOL.md, "Names"), so a frontend finds its documents
// under the names it always used. A y-websocket server keeps the path of the URL (`path`), which is decoded first; what Hocuspocus
// and y-sweet keep is the name itself (`short`). A workspace that is named on the command line stands before all names.

export const DEFAULT_WORKSPACE = 'default'

/** The dashboard that `name` becomes. What ydash does not take as a name, it refuses itself. */
export function toDashboard (name, rule, workspace) {
  if (rule === 'path') name = decode(workspace === undefined ? name.replace(/^ws\//, '') : name)
  if (workspace !== undefined) return `${workspace}/${name}`
  while (/^default\/./s.test(name)) name = name.slice('default/'.length)
  return /^[\w-][\w.-]{0,63}\/./s.test(name) ? name : `${DEFAULT_WORKSPACE}/${name}`
}

/** The name that `dashboard` has in an old server. */
export function fromDashboard (dashboard, rule, workspace) {
  const slash = dashboard.indexOf('/')
  const [space, rest] = [dashboard.slice(0, slash), dashboard.slice(slash + 1)]
  if (workspace !== undefined && space !== workspace) throw new Error(`not in the workspace ${workspace}`)
  const name = space === (workspace ?? DEFAULT_WORKSPACE) ? rest : dashboard
  if (rule !== 'path') return name
  const path = name.replace(/[?#\\]|%(?=[0-9a-f]{2})/gi, encodeURIComponent)
  return path.startsWith('ws/') && workspace === undefined ? `ws/${path}` : path
}

/** Decodes `%XX`; a percent sign without two hex digits stands for itself. */
function decode (encoded) {
  return encoded.replace(/(%[0-9a-f]{2})+/gi, escapes => decodeURIComponent(escapes))
}
