import type { ClassStatus, LinkStatus, Timeline } from '../api/types'
import type { AgentRow } from '../live/protocol'
import { csv } from './csv'

/** The tables that the pages export; names of columns are the API's. */

export function classesCsv(rows: readonly ClassStatus[]): string {
  return csv(
    ['id', 'state', 'outcome', 'quality', 'hub', 'target', 'budget_ms', 'budget_on', 'rtt_p50_ms', 'rtt_p95_ms', 'one_way_p95_ms', 'one_way_error_ms', 'participants', 'began', 'ended'],
    rows.map((row) => [
      row.id,
      row.state,
      row.outcome,
      row.quality,
      row.hub,
      row.target,
      row.budget_ms,
      row.budget_on,
      row.rtt_ms?.p50,
      row.rtt_ms?.p95,
      row.one_way_ms?.p95,
      row.one_way_ms?.error,
      row.participants.map((participant) => `${participant.role}:${participant.subject}`).join(' '),
      row.began,
      row.ended,
    ]),
  )
}

export function agentsCsv(rows: readonly AgentRow[]): string {
  return csv(
    ['subject', 'id', 'state', 'uplink', 'rtt_p50_ms', 'rtt_p95_ms', 'version', 'platform', 'link_type', 'clock_off_s', 'classes', 'spool_rows', 'spool_dropped', 'last_seen'],
    rows.map((row) => [
      row.subject,
      row.id,
      row.state,
      row.uplink,
      row.link?.rtt_ms?.p50,
      row.link?.rtt_ms?.p95,
      row.version,
      row.platform,
      row.link_type,
      row.clock_off_s,
      row.classes.join(' '),
      row.spool_rows,
      row.spool_dropped,
      row.last_seen,
    ]),
  )
}

export function linksCsv(rows: readonly LinkStatus[]): string {
  return csv(
    ['from', 'to', 'window_s', 'sent', 'lost', 'loss', 'rtt_p50_ms', 'rtt_p95_ms', 'owd_ms', 'owd_error_ms', 'jitter_ms', 'kept_out', 'age_s'],
    rows.map((row) => [
      row.from,
      row.to,
      row.window_s,
      row.sent,
      row.lost,
      row.loss,
      row.rtt_ms?.p50,
      row.rtt_ms?.p95,
      row.owd_ms,
      row.owd_error_ms,
      row.jitter_ms,
      row.kept_out,
      row.age_s,
    ]),
  )
}

/** Windows and events in one table, told apart by `row`. */
export function timelineCsv(timeline: Timeline): string {
  const windows = timeline.participants.flatMap((participant) =>
    participant.points.map((point) => [
      'window',
      point.at,
      participant.subject,
      participant.role,
      point.length_s,
      point.route.join('>'),
      point.quality,
      point.rtt_ms?.p50,
      point.rtt_ms?.p95,
      point.loss_up,
      point.loss_down,
      point.jitter_ms,
      undefined,
      undefined,
    ]),
  )
  const none = Array.from({ length: 8 }, () => undefined)
  const events = timeline.events.map((event) => ['event', event.at, event.subject, undefined, ...none, event.kind, event.text])
  return csv(
    ['row', 'at', 'subject', 'role', 'length_s', 'route', 'quality', 'rtt_p50_ms', 'rtt_p95_ms', 'loss_up', 'loss_down', 'jitter_ms', 'kind', 'text'],
    [...windows, ...events],
  )
}
