import type { Event } from '../api/types'
import type { Tone } from '../health/tone'

/** How a kind of event looks in a lane and a list. Kinds not known here still show, plainly. */
export interface EventLook {
  icon: Tone | 'switch'
  text: string
}

const LOOKS: Record<string, EventLook> = {
  plan: { icon: 'neutral', text: 'Plan' },
  switch: { icon: 'switch', text: 'Switch' },
  access_outage: { icon: 'critical', text: 'Access outage' },
  outage: { icon: 'critical', text: 'Outage' },
  joined: { icon: 'ok', text: 'Joined' },
  left: { icon: 'neutral', text: 'Left' },
  lost: { icon: 'critical', text: 'Lost' },
  slept: { icon: 'warn', text: 'Slept' },
  moved: { icon: 'warn', text: 'Moved' },
  edge_down: { icon: 'critical', text: 'Edge down' },
  edge_up: { icon: 'ok', text: 'Edge up' },
}

export function eventLook(kind: string): EventLook {
  const plain = kind.replaceAll('_', ' ')
  return LOOKS[kind] ?? { icon: 'neutral', text: plain.charAt(0).toUpperCase() + plain.slice(1) }
}

const identity = (event: Event) => [event.at, event.kind, event.subject, event.edge, event.text].join('\n')

/** Both lists as one, ascending in time, each event once. */
export function merge(known: readonly Event[], fresh: readonly Event[]): Event[] {
  const byIdentity = new Map([...known, ...fresh].map((event) => [identity(event), event]))
  return [...byIdentity.values()].sort((a, b) => Date.parse(a.at) - Date.parse(b.at))
}
