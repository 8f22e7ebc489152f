/// <reference lib="webworker" />
/** The thread that receives the live feed, so that parsing it never holds up the page. */
import type { ClassStatus, Event, Status } from '../api/types'
import { MOST_PAST, NO_PAST, pastOf, type Past } from './past'
import { moment, since, type Connection, type FromWorker, type Moment, type ToWorker, type View } from './protocol'
import { exported, summary, viewData, wantsPast, withStatus, type Histories } from './views'

/** The stream is silent this long: ask by polling, which also tells a changed nothing from a dead line. */
const SILENT_MS = 5_000
const CHECK_MS = 1_000
const POLL_TIMEOUT_MS = 8_000
/** What is in the store already is asked for anew after this long. */
const PAST_FRESH_MS = 30_000
const RETRY_FIRST_MS = 1_000
const RETRY_MOST_MS = 15_000

let status: Status | null = null
let received: Moment | null = null
let histories: Histories = new Map()
let view: View = { kind: 'summary' }
let past: Past = NO_PAST
let pastAsked: Moment | null = null

let stream: EventSource | null = null
let waiting: { text: string; arrived: Moment } | null = null
let lastParse: { took: number; ended: Moment } | null = null
let showing = false
let running = false
let polling = false
let retryIn = RETRY_FIRST_MS
let retry: ReturnType<typeof setTimeout> | undefined
let check: ReturnType<typeof setInterval> | undefined
let connection: Connection = 'connecting'

const post = (message: FromWorker) => self.postMessage(message)

function connected(now: Connection): void {
  if (now === connection) return
  connection = now
  post({ type: 'connection', connection })
}

/** Answers the newest view once, however many were asked for while this thread was parsing. */
function showSoon(): void {
  if (showing) return
  showing = true
  setTimeout(() => {
    showing = false
    show()
  }, 0)
}

function show(): void {
  if (status === null || received === null) return
  post({ type: 'update', view, data: viewData(status, histories, past, view), summary: summary(status), received })
}

/**
 * Puts a status away to be parsed. One that comes while another waits takes its place, and parsing gets at
 * most half of this thread's time: a machine too slow for the feed skips, and never falls behind.
 */
function receive(text: string): void {
  const idle = waiting === null
  waiting = { text, arrived: moment() }
  if (!idle) return
  const rest = lastParse === null ? 0 : lastParse.took - since(lastParse.ended, moment())
  setTimeout(() => {
    const next = waiting
    waiting = null
    if (next === null || !running) return
    const began = moment()
    take(JSON.parse(next.text) as Status, next.arrived)
    lastParse = { took: since(began, moment()), ended: moment() }
  }, Math.max(0, rest))
}

function take(next: Status, arrived: Moment): void {
  received = arrived
  status = next
  histories = withStatus(histories, next, received.monotonic / 1000)
  show()
}

function open(): void {
  stream = new EventSource('/api/v1/live')
  stream.addEventListener('open', () => {
    retryIn = RETRY_FIRST_MS
    connected('streaming')
  })
  stream.addEventListener('status', (message) => {
    connected('streaming')
    receive(message.data as string)
  })
  stream.addEventListener('event', (message) => post({ type: 'event', event: JSON.parse(message.data) as Event }))
  stream.addEventListener('error', () => {
    // The browser would retry by itself, but never tells a session that is over from a server that is.
    stream?.close()
    stream = null
    void poll()
    retry = setTimeout(reopen, retryIn * (0.75 + Math.random() / 2))
    retryIn = Math.min(retryIn * 2, RETRY_MOST_MS)
  })
}

function reopen(): void {
  if (running && stream === null) open()
}

async function poll(): Promise<void> {
  if (polling || !running) return
  polling = true
  try {
    const response = await fetch('/api/v1/status', {
      cache: 'no-store',
      credentials: 'same-origin',
      signal: AbortSignal.timeout(POLL_TIMEOUT_MS),
    })
    if (!running) return
    if (response.status === 401) {
      stop()
      post({ type: 'unauthorised' })
    } else if (response.ok) {
      const next = (await response.json()) as Status
      if (!running) return
      connected(stream?.readyState === EventSource.OPEN ? 'streaming' : 'polling')
      take(next, moment())
    } else {
      connected('lost')
    }
  } catch {
    if (running) connected('lost')
  } finally {
    polling = false
  }
}

/** Brings the ended classes of the store when a list wants them and those at hand are old. */
async function recall(): Promise<void> {
  if (!running || !wantsPast(view)) return
  const now = moment()
  if (pastAsked !== null && since(pastAsked, now) < PAST_FRESH_MS) return
  pastAsked = now
  try {
    const response = await fetch(`/api/v1/classes?state=ended&limit=${MOST_PAST}`, {
      cache: 'no-store',
      credentials: 'same-origin',
      signal: AbortSignal.timeout(POLL_TIMEOUT_MS),
    })
    if (!response.ok) throw new Error(`status ${response.status}`)
    const next = pastOf((await response.json()) as ClassStatus[])
    if (running) past = next
  } catch {
    // What was had is old, but over; only a first failure leaves a hole.
    if (running && past.state === 'loading') past = { ...past, state: 'failed' }
  }
  showSoon()
}

function start(): void {
  if (running) return
  running = true
  retryIn = RETRY_FIRST_MS
  connected('connecting')
  open()
  check = setInterval(() => {
    void recall()
    if (received === null || since(received, moment()) > SILENT_MS) void poll()
  }, CHECK_MS)
}

function stop(): void {
  running = false
  stream?.close()
  stream = null
  clearTimeout(retry)
  clearInterval(check)
  status = null
  received = null
  waiting = null
  histories = new Map()
  past = NO_PAST
  pastAsked = null
}

self.addEventListener('message', (message: MessageEvent<ToWorker>) => {
  const order = message.data
  switch (order.type) {
    case 'start':
      return start()
    case 'stop':
      return stop()
    case 'view':
      view = order.view
      void recall()
      return showSoon()
    case 'export':
      return post({ type: 'exported', ticket: order.ticket, exported: status === null ? null : exported(status, past, order.view) })
  }
})
