import type { AgentState, ClassState, EdgeState, Outcome, Quality } from '../api/types'

/** How something looks: colour and icon together, so that neither carries the meaning alone. */
export type Tone = 'ok' | 'warn' | 'critical' | 'unknown' | 'stale' | 'neutral'

export interface Look {
  tone: Tone
  text: string
}

const QUALITY: Record<Quality, Look> = {
  good: { tone: 'ok', text: 'Good' },
  at_risk: { tone: 'warn', text: 'At risk' },
  outage: { tone: 'critical', text: 'Outage' },
  unknown: { tone: 'unknown', text: 'Unknown' },
}

const EDGE: Record<EdgeState, Look> = {
  up: { tone: 'ok', text: 'Up' },
  draining: { tone: 'warn', text: 'Draining' },
  down: { tone: 'critical', text: 'Down' },
}

const AGENT: Record<AgentState, Look> = {
  up: { tone: 'ok', text: 'Up' },
  silent: { tone: 'warn', text: 'Silent' },
  gone: { tone: 'unknown', text: 'Gone' },
  revoked: { tone: 'neutral', text: 'Revoked' },
}

/** A look that the feed's age overrules: the last known state is said, but greyed. */
function aged(look: Look, stale: boolean): Look {
  return stale ? { tone: 'stale', text: `Stale (was ${look.text.toLowerCase()})` } : look
}

export const qualityLook = (quality: Quality, stale: boolean): Look => aged(QUALITY[quality], stale)
export const edgeLook = (state: EdgeState, stale: boolean): Look => aged(EDGE[state], stale)
export const agentLook = (state: AgentState, stale: boolean): Look => aged(AGENT[state], stale)

export const OUTCOMES: Record<Outcome, string> = {
  completed: 'Completed',
  cut_short: 'Cut short',
  dropped: 'Dropped',
  never_started: 'Never started',
}

const OUTCOME_TONES: Record<Outcome, Tone> = { completed: 'neutral', cut_short: 'warn', dropped: 'critical', never_started: 'neutral' }

/** A class's health; one that has not begun has none, of one that is over it is how it went. That does not age, but shows no colour beside what does. */
export function classLook(state: ClassState, quality: Quality, outcome: Outcome | undefined, stale: boolean): Look {
  if (state === 'scheduled') return { tone: 'neutral', text: 'Scheduled' }
  if (state === 'live') return qualityLook(quality, stale)
  if (outcome === undefined) return { tone: 'neutral', text: 'Ended' }
  return { tone: stale ? 'neutral' : OUTCOME_TONES[outcome], text: OUTCOMES[outcome] }
}
