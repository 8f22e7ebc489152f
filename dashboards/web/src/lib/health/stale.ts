/** When what is shown is too old to be believed. Stale never looks healthy. */

/** Age of the live feed, in seconds, beyond which everything it brought is stale. */
export const FEED_STALE_S = 10

/** Grace on top of a link's own window: its next report may be on its way. */
const LINK_GRACE_S = 10

/** In class an agent reports every 10 s; twice that without a window is too long. */
export const LEG_STALE_S = 20

/** By the seconds since the feed last brought something; `null` before it ever did. */
export function feedStale(age: number | null): boolean {
  return age === null || age > FEED_STALE_S
}

/** `ageAtStatus` is what the status said; the status itself has aged since. */
export function linkStale(ageAtStatus: number | undefined, windowS: number, age: number | null): boolean {
  if (feedStale(age) || ageAtStatus === undefined) return true
  return ageAtStatus + (age ?? 0) > windowS + LINK_GRACE_S
}

export function legStale(ageAtStatus: number | undefined, age: number | null): boolean {
  if (feedStale(age) || ageAtStatus === undefined) return true
  return ageAtStatus + (age ?? 0) > LEG_STALE_S
}
