import type { BudgetOn, CreateClass, NewParticipant, Protect } from '../api/types'
import { fromField, type Zone } from '../format/time'

/** The form as typed. */
export interface Draft {
  id: string
  teacher: string
  students: string
  observers: string
  target: string
  budget: string
  budgetOn: BudgetOn
  protect: Protect
  start: string
  end: string
}

export type Field = keyof Draft

export const EMPTY: Draft = {
  id: '',
  teacher: '',
  students: '',
  observers: '',
  target: '',
  budget: '200',
  budgetOn: 'round_trip',
  protect: 'off',
  start: '',
  end: '',
}

export type Checked = { ok: true; body: CreateClass } | { ok: false; errors: Partial<Record<Field, string>> }

interface Person extends NewParticipant {
  field: Field
}

/** Names apart by spaces, commas, semicolons or lines. */
export function names(text: string): string[] {
  return text.split(/[\s,;]+/).filter((name) => name !== '')
}

/** What the page itself can tell before the server judges: all faults at once. */
export function check(draft: Draft, zone: Zone): Checked {
  const errors: Partial<Record<Field, string>> = {}
  const id = draft.id.trim()
  if (id === '') errors.id = 'Give the class an id.'
  const teachers = names(draft.teacher)
  if (teachers.length === 0) errors.teacher = 'Name the teacher.'
  const students = names(draft.students)
  if (students.length === 0) errors.students = 'Name at least one student.'
  const observers = names(draft.observers)
  const people = [
    ...teachers.map((subject): Person => ({ field: 'teacher', role: 'teacher', subject })),
    ...students.map((subject): Person => ({ field: 'students', role: 'student', subject })),
    ...observers.map((subject): Person => ({ field: 'observers', role: 'observer', subject })),
  ]
  const seen = new Set<string>()
  for (const { field, subject } of people) {
    if (seen.has(subject)) errors[field] ??= `“${subject}” is named twice.`
    seen.add(subject)
  }
  const target = draft.target.trim()
  if (target !== '' && !/^(\[[0-9a-fA-F:.]+\]|[^\s:]+):\d{1,5}$/.test(target))
    errors.target = 'A target is HOST:PORT, such as media.example.org:3478.'
  const budget = draft.budget.trim() === '' ? undefined : Number(draft.budget)
  if (budget !== undefined && !(budget > 0)) errors.budget = 'The budget is a number of milliseconds above 0.'
  const start = fromField(draft.start, zone)
  const end = fromField(draft.end, zone)
  if (start !== undefined && end !== undefined && end <= start) errors.end = 'The end is not after the start.'
  if (Object.keys(errors).length > 0) return { ok: false, errors }
  const participants: NewParticipant[] = people.map(({ role, subject }) => ({ subject, role }))
  return {
    ok: true,
    body: {
      id,
      participants,
      ...(target === '' ? {} : { target }),
      ...(budget === undefined ? {} : { budget_ms: budget }),
      budget_on: draft.budgetOn,
      protect: draft.protect,
      ...(start === undefined ? {} : { start }),
      ...(end === undefined ? {} : { end }),
    },
  }
}

/** Words in a server's error that tell which field it is about, in order of how telling they are. */
const FIELD_WORDS: readonly (readonly [RegExp, Field])[] = [
  [/budget_?\s?on/, 'budgetOn'],
  [/budget/, 'budget'],
  [/protect/, 'protect'],
  [/target/, 'target'],
  [/observer/, 'observers'],
  [/student/, 'students'],
  [/teacher/, 'teacher'],
  [/\bstart\b/, 'start'],
  [/\bend\b/, 'end'],
  [/\bid\b|exists/, 'id'],
]

/**
 * The field that a server's error is about, so that the sentence can stand beside it. The code is asked
 * first, then any subject of the draft that the sentence quotes, then the sentence's own words.
 */
export function fieldOf(error: { code: string; message: string }, draft: Draft): Field | undefined {
  const find = (text: string) => FIELD_WORDS.find(([word]) => word.test(text))?.[1]
  const byCode = find(error.code.replaceAll('_', ' '))
  if (byCode !== undefined) return byCode
  for (const field of ['teacher', 'students', 'observers'] as const)
    if (names(draft[field]).some((name) => quotes(error.message, name))) return field
  return find(error.message.toLowerCase())
}

function quotes(message: string, name: string): boolean {
  return [`'${name}'`, `"${name}"`, `“${name}”`, `\`${name}\``].some((quoted) => message.includes(quoted))
}
