import { expect, test } from 'vitest'
import { since, timeOf } from '../live/protocol'
import { feedStale, legStale, linkStale } from './stale'
import { classLook, qualityLook } from './tone'

test.each([
  [null, true],
  [0, false],
  [10, false],
  [10.001, true],
])('a feed %s s old: stale %s', (age, stale) => expect(feedStale(age)).toBe(stale))

test('an age is never negative', () => {
  expect(since({ monotonic: 9, wall: 9 }, { monotonic: 5, wall: 5 })).toBe(0)
})

test('sleep shows on the wall clock alone, and counts', () => {
  expect(since({ monotonic: 0, wall: 0 }, { monotonic: 100, wall: 60_000 })).toBe(60_000)
  expect(since({ monotonic: 0, wall: 60_000 }, { monotonic: 100, wall: 0 })).toBe(100)
})

test.each([
  // age in the status, window, the feed's own age, stale
  [20, 10, 0, false],
  [20.1, 10, 0, true],
  [19, 10, 2, true],
  [69, 60, 0, false],
  [undefined, 10, 0, true],
  [0, 10, 11, true],
])('a link measured %s s ago over %s s, feed %s s old: stale %s', (age, window, feed, stale) =>
  expect(linkStale(age, window, feed)).toBe(stale),
)

test.each([
  [20, 0, false],
  [20, 0.1, true],
  [undefined, 0, true],
])('a leg measured %s s ago, feed %s s old: stale %s', (age, feed, stale) => expect(legStale(age, feed)).toBe(stale))

test('stale never looks healthy', () => {
  for (const quality of ['good', 'at_risk', 'outage', 'unknown'] as const) expect(qualityLook(quality, true).tone).toBe('stale')
  expect(qualityLook('good', true).text).toBe('Stale (was good)')
  expect(classLook('live', 'good', undefined, true).tone).toBe('stale')
  expect(classLook('ended', 'good', undefined, false)).toEqual({ tone: 'neutral', text: 'Ended' })
  expect(classLook('ended', 'good', 'dropped', false)).toEqual({ tone: 'critical', text: 'Dropped' })
  // How a class ended does not age, but no colour stands out among what does.
  expect(classLook('ended', 'good', 'dropped', true)).toEqual({ tone: 'neutral', text: 'Dropped' })
})

test('the time shown is the controller’s, and goes on by itself', () => {
  expect(timeOf(5_000, 3, 999_999)).toBe(8_000)
  expect(timeOf(undefined, 3, 7)).toBe(7)
  expect(timeOf(5_000, null, 7)).toBe(7)
})
