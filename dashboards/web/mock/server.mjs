// Serves the built pages and an API that behaves like the controller's, for development and browser tests.
//   node mock/server.mjs [--port 8420] [--classes 30] [--edges 5] [--level admin]
// Log in as admin with the password "corridor".
import { randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { World } from './world.mjs'

const DIST = fileURLToPath(new URL('../dist', import.meta.url))
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }
const CSP = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
const MAX_BODY = 1 << 20

/** Starts it; `close` ends every connection, `freeze(true)` keeps them open and says nothing more. */
export async function startMock({ port = 0, host = '127.0.0.1', level = 'admin', password = 'corridor', ...world } = {}) {
  const state = {
    world: new World(world),
    sessions: new Map(),
    streams: new Set(),
    frozen: false,
    level,
    password,
  }
  const server = createServer((request, response) => {
    handle(state, request, response).catch((error) => {
      console.error(error)
      if (!response.headersSent) fail(response, 500, 'internal', 'The mock failed.')
    })
  })
  const timer = setInterval(() => tick(state), 1000)
  let seen = Date.now() / 1000
  const events = setInterval(() => {
    const now = Date.now() / 1000
    for (const row of state.world.classes.values()) {
      if (state.frozen || state.streams.size === 0 || row.state !== 'live') continue
      for (const event of state.world.events(row, seen + 0.001, now)) for (const stream of state.streams) stream.write(`event: event\ndata: ${JSON.stringify(event)}\n\n`)
    }
    seen = now
  }, 2000)
  await new Promise((resolve) => server.listen(port, host, resolve))
  return {
    url: `http://${host}:${server.address().port}`,
    world: state.world,
    freeze: (on) => (state.frozen = on),
    expire: () => {
      state.sessions.clear()
      for (const stream of state.streams) stream.destroy()
    },
    async close() {
      clearInterval(timer)
      clearInterval(events)
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

function tick(state) {
  if (state.frozen || state.streams.size === 0) return
  const text = `event: status\ndata: ${state.world.status()}\n\n`
  for (const stream of state.streams) stream.write(text)
}

async function handle(state, request, response) {
  const url = new URL(request.url, 'http://mock')
  response.setHeader('x-content-type-options', 'nosniff')
  if (!url.pathname.startsWith('/api/')) return file(url.pathname, response)
  if (state.frozen) return
  const path = url.pathname.slice('/api/v1'.length)
  const session = state.sessions.get(/corridor_session=(\w+)/.exec(request.headers.cookie ?? '')?.[1])
  if (path === '/login' && request.method === 'POST') return login(state, await body(request), response)
  if (session === undefined) return fail(response, 401, 'unauthorised', 'Log in first.')
  if (request.method !== 'GET' && request.headers['x-corridor-csrf'] !== session.csrf)
    return fail(response, 403, 'csrf', 'The request did not come from Corridor’s pages.')
  return route(state, session, request, path, url, response)
}

async function route(state, session, request, path, url, response) {
  const { world } = state
  const key = `${request.method} ${path}`
  if (key === 'GET /session') return json(response, session)
  if (key === 'POST /logout') {
    state.sessions.delete(session.id)
    return json(response, undefined, 204)
  }
  if (key === 'GET /status') return text(response, world.status())
  if (key === 'GET /classes') return json(response, world.endedClasses(Number(url.searchParams.get('limit') ?? 100)))
  if (key === 'GET /live') return stream(state, request, response)
  if (key === 'GET /tokens') return json(response, world.tokens)
  if (request.method !== 'GET' && (session.level === 'viewer' || session.level === 'support'))
    return fail(response, 403, 'forbidden', 'That needs an operator.')
  if (key === 'POST /classes') return done(response, world.create(await body(request)), 201)
  if (key === 'POST /tokens') return json(response, token(world, await body(request)), 201)
  const [, kind, rawName, action] = path.split('/')
  const name = decodeURIComponent(rawName ?? '')
  if (kind === 'classes' && action === 'end' && request.method === 'POST')
    return done(response, world.end(name, (await body(request)).outcome), 200)
  if (kind === 'classes' && action === 'timeline' && request.method === 'GET') {
    const seconds = (key_) => Date.parse(url.searchParams.get(key_)) / 1000
    const timeline = world.timeline(name, seconds('from'), seconds('to'))
    return timeline === undefined ? fail(response, 404, 'not_found', `There is no class '${name}'.`) : json(response, timeline)
  }
  if (kind === 'edges' && action === 'drain' && request.method === 'POST') {
    if ((await body(request)).on) world.drained.add(name)
    else world.drained.delete(name)
    return json(response, undefined, 204)
  }
  if (kind === 'tokens' && request.method === 'DELETE') {
    const found = world.tokens.find((row) => row.id === name)
    if (found === undefined) return fail(response, 404, 'not_found', 'There is no such token.')
    found.revoked = true
    return json(response, undefined, 204)
  }
  return fail(response, 404, 'not_found', 'There is nothing here.')
}

function login(state, { name, password }, response) {
  if (name !== 'admin' || password !== state.password) return fail(response, 401, 'bad_login', 'The name or the password is wrong.')
  const id = randomBytes(16).toString('hex')
  const session = { id, name, level: state.level, csrf: randomBytes(16).toString('hex') }
  state.sessions.set(id, session)
  response.setHeader('set-cookie', `corridor_session=${id}; HttpOnly; SameSite=Strict; Path=/`)
  return json(response, session)
}

function token(world, wanted) {
  const now = Date.now()
  world.serial += 1
  const id = (0x1a2b3c4d5e6f7000n + BigInt(world.serial)).toString(16)
  const expires = new Date(now + (wanted.expires_s ?? 86_400) * 1000).toISOString()
  world.tokens.push({
    id,
    service: wanted.service,
    subject: wanted.subject,
    tags: wanted.tags ?? {},
    uses_left: wanted.uses ?? 1,
    created: new Date(now).toISOString(),
    expires,
    revoked: false,
  })
  const secret = `cj1.${id}.${randomBytes(24).toString('base64url')}`
  return { id, token: secret, expires, join: `corridor ${wanted.service} join https://corridor.example.org:8443 --join ${secret}${wanted.subject === undefined ? ` ${wanted.service === 'agent' ? '--subject' : '--name'} NAME` : ''}` }
}

function stream(state, request, response) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
  response.write(`event: status\ndata: ${state.world.status()}\n\n`)
  state.streams.add(response)
  request.on('close', () => state.streams.delete(response))
}

function file(path, response) {
  const wanted = normalize(path).replace(/^(\.\.[/\\])+/, '')
  let name = join(DIST, wanted)
  if (!name.startsWith(DIST) || extname(name) === '' || statSync(name, { throwIfNoEntry: false })?.isFile() !== true) {
    if (wanted.startsWith('/assets/')) return fail(response, 404, 'not_found', 'There is no such file.')
    name = join(DIST, 'index.html')
  }
  response.writeHead(200, {
    'content-type': TYPES[extname(name)] ?? 'application/octet-stream',
    'content-security-policy': CSP,
    'cache-control': wanted.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
  })
  response.end(readFileSync(name))
}

async function body(request) {
  let text = ''
  for await (const chunk of request) {
    text += chunk
    if (text.length > MAX_BODY) throw new Error('body too large')
  }
  return text === '' ? {} : JSON.parse(text)
}

function json(response, value, status = 200) {
  text(response, value === undefined ? '' : JSON.stringify(value), status)
}

function text(response, body, status = 200) {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(body)
}

function done(response, problem, status) {
  return problem === undefined ? json(response, {}, status) : fail(response, ...problem)
}

function fail(response, status, code, message) {
  json(response, { code, message }, status)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: {
      port: { type: 'string', default: '8420' },
      classes: { type: 'string', default: '30' },
      edges: { type: 'string', default: '5' },
      level: { type: 'string', default: 'admin' },
    },
  })
  const mock = await startMock({ port: Number(values.port), classes: Number(values.classes), edges: Number(values.edges), level: values.level })
  console.log(`${mock.url}  (admin / corridor)`)
}
