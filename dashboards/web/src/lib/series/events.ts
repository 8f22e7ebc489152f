import type { Event } from '../api/types'
import type { Tone } from '../health/tone'

/** How a kind of event looks in a lane and a list. Kinds not known here still show, plainly. */
export interface EventLook {
  icon: Tone | 'switch'
  text: string
}

const LOOKS: Record<string, EventLook> = {
  created: { icon: 'neutral', text: 'Created' },
  began: { icon: 'ok', text: 'Began' },
  ended: { icon: 'neutral', text: 'Ended' },
  plan: { icon: 'neutral', text: 'Plan' },
  switch: { icon: 'switch', text: 'Switch' },
  access_outage: { icon: 'critical', text: 'Access outage' },
  access_back: { icon: 'ok', text: 'Access back' },
  outage: { icon: 'critical', text: 'Outage' },
  joined: { icon: 'ok', text: 'Joined' },
  left: { icon: 'neutral', text: 'Left' },
  lost: { icon: 'critical', text: 'Lost' },
  back: { icon: 'ok', text: 'Back' },
  slept: { icon: 'warn', text: 'Slept' },
  moved: { icon: 'warn', text: 'Moved' },
  stalled: { icon: 'warn', text: 'Stalled' },
  trace: { icon: 'neutral', text: 'Trace' },
  revoked: { icon: 'critical', text: 'Revoked' },
  edge_down: { icon: 'critical', text: 'Edge down' },
  edge_up: { icon: 'ok', text: 'Edge up' },
  edge_draining: { icon: 'warn', text: 'Draining' },
  edge_undrained: { icon: 'ok', text: 'Undrained' },
}

export function eventLook(kind: string): EventLook {
  const plain = kind.replaceAll('_', ' ')
  return LOOKS[kind] ?? { icon: 'neutral', text: plain.charAt(0).toUpperCase() + plain.slice(1) }
}

/** An event taken apart, so that whom it is about and which routes it names can be seen at a glance. */
export interface Told {
  kind: string
  who?: string
  from?: readonly string[]
  to?: readonly string[]
  /** The rest of the sentence. */
  words: string
}

const chain = (route: readonly string[]) => (route.length === 0 ? 'direct' : route.join(' > '))

function route(detail: unknown, key: string): readonly string[] | undefined {
  const value = typeof detail === 'object' && detail !== null ? (detail as Record<string, unknown>)[key] : undefined
  return Array.isArray(value) && value.every((name) => typeof name === 'string') ? value : undefined
}

/**
 * What `detail` says already is taken off the front of the sentence. A sentence that does not begin so stays
 * whole: nothing is left out that is not shown otherwise.
 */
export function told({ kind, subject, text, detail }: Event): Told {
  const look = eventLook(kind).text
  const version = typeof detail === 'object' && detail !== null && 'version' in detail ? detail.version : undefined
  const out: Told = { kind: kind === 'plan' && typeof version === 'number' ? `${look} ${version}` : look, words: text }
  if (subject === undefined) return out
  out.who = subject
  const rest = [`${subject}: `, `${subject} `].find((begin) => text.startsWith(begin))
  if (rest === undefined) return out
  out.words = text.slice(rest.length)
  const from = kind === 'switch' ? route(detail, 'from') : undefined
  const to = route(detail, kind === 'switch' ? 'to' : 'route')
  if (to === undefined || (kind !== 'switch' && kind !== 'plan')) return out
  const said = from === undefined ? `plan by ${chain(to)}: ` : `route ${chain(from)} -> ${chain(to)}: `
  if (!out.words.startsWith(said)) return out
  return { ...out, ...(from === undefined ? {} : { from }), to, words: out.words.slice(said.length) }
}

const identity = (event: Event) => [event.at, event.kind, event.subject, event.edge, event.text].join('\n')

/** Both lists as one, ascending in time, each event once. */
export function merge(known: readonly Event[], fresh: readonly Event[]): Event[] {
  const byIdentity = new Map([...known, ...fresh].map((event) => [identity(event), event]))
  return [...byIdentity.values()].sort((a, b) => Date.parse(a.at) - Date.parse(b.at))
}
