import type { Point } from '../api/types'
import { parse } from '../format/time'

/** Columns for a chart; `null` breaks the line. Times are seconds since 1970. */
export interface Series {
  at: number[]
  p50: (number | null)[]
  p95: (number | null)[]
  /** Per cent, the worse direction. */
  loss: (number | null)[]
}

/** Windows that follow each other may be apart by this share of their length, and a second. */
const SLACK = 0.5

/**
 * Points as columns in which a stretch of time that no window covers stays a gap: a row of nulls is put
 * where the next window begins too long after the last one ended.
 */
export function series(points: readonly Point[]): Series {
  const out: Series = { at: [], p50: [], p95: [], loss: [] }
  let last: number | undefined
  for (const point of points) {
    const end = parse(point.at)
    if (end === undefined || (last !== undefined && end / 1000 <= last)) continue
    const at = end / 1000
    const begins = at - point.length_s
    if (last !== undefined && begins - last > point.length_s * SLACK + 1) {
      out.at.push((last + begins) / 2)
      out.p50.push(null)
      out.p95.push(null)
      out.loss.push(null)
    }
    out.at.push(at)
    out.p50.push(point.rtt_ms?.p50 ?? null)
    out.p95.push(point.rtt_ms?.p95 ?? null)
    const loss = worstLoss(point)
    out.loss.push(loss === undefined ? null : loss * 100)
    last = at
  }
  return out
}

/** Share lost in the worse direction; `undefined` if neither is known. */
export function worstLoss(point: Point): number | undefined {
  if (point.loss_up === undefined) return point.loss_down
  return Math.max(point.loss_up, point.loss_down ?? 0)
}
