/** Counters of one direction of one link, as a status gave them. */
export interface Counters {
  /** Seconds, any fixed origin. */
  at: number
  sent: number
  lost: number
}

export interface Loss {
  sent: number
  lost: number
}

const SPAN_S = 60

/**
 * Adds a reading to a direction's history: older than a minute goes out, except the newest of those,
 * which is the base. Counters that go back mean that the prober started anew, and so does the history.
 */
export function push(history: readonly Counters[], reading: Counters): Counters[] {
  const last = history.at(-1)
  if (last !== undefined && (reading.sent < last.sent || reading.lost < last.lost)) return [reading]
  const kept = [...history, reading]
  while (kept.length > 2 && (kept[1]?.at ?? reading.at) <= reading.at - SPAN_S) kept.shift()
  return kept
}

/** What was sent and lost over the history; `undefined` before anything was sent in it. */
export function over(history: readonly Counters[]): Loss | undefined {
  const first = history[0]
  const last = history.at(-1)
  if (first === undefined || last === undefined || last.sent === first.sent) return undefined
  return { sent: last.sent - first.sent, lost: last.lost - first.lost }
}
