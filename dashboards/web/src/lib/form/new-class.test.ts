import { expect, test } from 'vitest'
import { check, EMPTY, fieldOf, type Draft } from './new-class'

const draft = (more: Partial<Draft> = {}): Draft => ({ ...EMPTY, id: 'maths', teacher: 't', students: 's1, s2\ns3', ...more })

test('a whole form becomes a request', () => {
  const checked = check(draft({ observers: 'o', target: 'media.example.org:3478', start: '2026-11-22T10:00', end: '2026-11-22T11:00' }), 'utc')
  expect(checked).toEqual({
    ok: true,
    body: {
      id: 'maths',
      participants: [
        { subject: 't', role: 'teacher' },
        { subject: 's1', role: 'student' },
        { subject: 's2', role: 'student' },
        { subject: 's3', role: 'student' },
        { subject: 'o', role: 'observer' },
      ],
      target: 'media.example.org:3478',
      budget_ms: 200,
      budget_on: 'round_trip',
      protect: 'off',
      start: '2026-11-22T10:00:00.000Z',
      end: '2026-11-22T11:00:00.000Z',
    },
  })
})

test.each([
  [{ id: ' ' }, 'id'],
  [{ teacher: '' }, 'teacher'],
  [{ students: ' ,\n' }, 'students'],
  [{ students: 't' }, 'students'],
  [{ observers: 's2' }, 'observers'],
  [{ target: 'media.example.org' }, 'target'],
  [{ target: 'a b:1' }, 'target'],
  [{ budget: '0' }, 'budget'],
  [{ budget: 'fast' }, 'budget'],
  [{ start: '2026-11-22T10:00', end: '2026-11-22T10:00' }, 'end'],
] as const)('%j is a fault of %s', (more, field) => {
  const checked = check(draft(more), 'utc')
  expect(checked.ok ? [] : Object.keys(checked.errors)).toEqual([field])
})

test.each(['host:1', '[2001:db8::1]:443', ''])('a target may be %j', (target) => expect(check(draft({ target }), 'utc').ok).toBe(true))

test('all faults are told at once', () => {
  const checked = check(EMPTY, 'utc')
  expect(checked.ok ? [] : Object.keys(checked.errors)).toEqual(['id', 'teacher', 'students'])
})

test.each([
  ['class_exists', "A class 'maths' exists already.", 'id'],
  ['bad_budget', 'Too much.', 'budget'],
  ['budget_on', 'No.', 'budgetOn'],
  ['unknown_subject', "No agent has the subject 's2'.", 'students'],
  ['unknown_subject', "No agent has the subject 't'.", 'teacher'],
  ['invalid', 'The target is not HOST:PORT.', 'target'],
  ['forbidden', 'That needs an operator.', undefined],
])('%s “%s” is about %s', (code, message, field) => expect(fieldOf({ code, message }, draft())).toBe(field))
