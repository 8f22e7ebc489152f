import { expect, test } from 'vitest'
import { brief, dateTime, fromField, parse, span, zoneName } from './time'

const AT = Date.UTC(2026, 10, 22, 23, 3, 9)

test('UTC is shown whatever the machine’s zone', () => {
  expect(dateTime(AT, 'utc')).toBe('2026-11-22 23:03:09')
  expect(zoneName(AT, 'utc')).toBe('UTC')
})

test('midnight is 00, never 24', () => expect(dateTime(Date.UTC(2026, 0, 1), 'utc')).toBe('2026-01-01 00:00:00'))

test('a time of another day carries its date', () => {
  expect(brief(AT, AT + 1000, 'utc')).toBe('23:03:09')
  expect(brief(AT, AT + 3_600_000, 'utc')).toBe('2026-11-22 23:03')
  expect(brief(undefined, AT, 'utc')).toBe('–')
})

test('what is no time is unknown', () => {
  expect(parse('yesterday')).toBeUndefined()
  expect(parse('2026-11-22T23:03:09Z')).toBe(AT)
})

test.each([
  [0.9, '0 s'],
  [59.9, '59 s'],
  [60, '1 min'],
  [200, '3 min 20 s'],
  [7500, '2 h 5 min'],
  [86_399, '23 h 59 min'],
  [90_000, '1 d 1 h'],
  [undefined, '–'],
])('span(%s) is %s', (seconds, text) => expect(span(seconds)).toBe(text))

test('a field is read in the zone shown', () => {
  expect(fromField('2026-11-22T23:03', 'utc')).toBe('2026-11-22T23:03:00.000Z')
  expect(fromField('2026-11-22T23:03', 'local')).toBe(new Date(2026, 10, 22, 23, 3).toISOString())
  expect(fromField('', 'utc')).toBeUndefined()
  expect(fromField('soon', 'utc')).toBeUndefined()
})
