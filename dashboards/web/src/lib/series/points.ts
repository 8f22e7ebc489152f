import type { Point } from '../api/types'
import { parse } from '../format/time'

/** Columns for a stepped chart; `null` breaks the line. Times are seconds since 1970. */
export interface Series {
  at: number[]
  p50: (number | null)[]
  p95: (number | null)[]
  /** Per cent, the worse direction. */
  loss: (number | null)[]
}

/** Windows that follow each other may be apart by this share of their length, and a second. */
const SLACK = 0.5
/** Times must ascend: a window that begins where the last one ended has its first row this much later. */
const TICK_S = 0.001

/** When a window ends and begins, seconds since 1970; `undefined` if its time is none. */
export function extent(point: Point): { begins: number; ends: number } | undefined {
  const end = parse(point.at)
  return end === undefined ? undefined : { begins: end / 1000 - point.length_s, ends: end / 1000 }
}

/** Whether so much time lies between two windows that nothing is known of it. */
export function isGap(ended: number, begins: number, length: number): boolean {
  return begins - ended > length * SLACK + 1
}

/**
 * Points as columns in which each window is level from its beginning to its end, since it says nothing of
 * when inside it something changed. Time that no window covers stays a gap: a row of nulls, after which the
 * next window has a row for its beginning. So it has after a window that lacks a value which it has.
 */
export function series(points: readonly Point[]): Series {
  const out: Series = { at: [], p50: [], p95: [], loss: [] }
  const push = (at: number, p50: number | null, p95: number | null, loss: number | null) => {
    out.at.push(at)
    out.p50.push(p50)
    out.p95.push(p95)
    out.loss.push(loss)
  }
  let last: { ends: number; known: boolean } | undefined
  for (const point of points) {
    const when = extent(point)
    if (when === undefined || (last !== undefined && when.ends <= last.ends)) continue
    const { begins, ends } = when
    const loss = worstLoss(point)
    const values = [point.rtt_ms?.p50 ?? null, point.rtt_ms?.p95 ?? null, loss === undefined ? null : loss * 100] as const
    const gap = last !== undefined && isGap(last.ends, begins, point.length_s)
    if (last !== undefined && gap) push((last.ends + begins) / 2, null, null, null)
    if (last === undefined || gap || !last.known) push(Math.max(begins, (last?.ends ?? -Infinity) + TICK_S), ...values)
    push(ends, ...values)
    last = { ends, known: values.every((value) => value !== null) }
  }
  return out
}

/** Share lost in the worse direction; `undefined` if neither is known. */
export function worstLoss(point: Point): number | undefined {
  if (point.loss_up === undefined) return point.loss_down
  return Math.max(point.loss_up, point.loss_down ?? 0)
}
