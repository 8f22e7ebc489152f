import type { Event } from '../api/types'
import type { Tone } from '../health/tone'
import { eventLook, type EventLook } from './events'

/** Events that lie too close together on the time axis to be told apart, as one mark. */
export interface Mark {
  /** Share of the axis, 0 to 1, of the first of them. */
  share: number
  events: Event[]
  /** The look of the weightiest. */
  look: EventLook
}

/** What must not hide behind something else: higher is weightier. */
const WEIGHT: Record<Tone | 'switch', number> = { neutral: 0, unknown: 1, ok: 2, stale: 3, switch: 4, warn: 5, critical: 6 }

/** Marks for an axis from `from` to `to`, seconds since 1970, that is `width` wide, none nearer than `apart`. */
export function marks(events: readonly Event[], from: number, to: number, width: number, apart: number): Mark[] {
  const out: Mark[] = []
  let begins = -Infinity
  for (const event of events) {
    const at = Date.parse(event.at) / 1000
    if (!(at >= from && at <= to)) continue
    const look = eventLook(event.kind)
    const last = out.at(-1)
    if (last === undefined || (at - begins) * width >= apart * (to - from)) {
      begins = at
      out.push({ share: (at - from) / (to - from), events: [event], look })
    } else {
      last.events.push(event)
      if (WEIGHT[look.icon] > WEIGHT[last.look.icon]) last.look = look
    }
  }
  return out
}
