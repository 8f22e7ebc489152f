import { expect, test } from 'vitest'
import { errorFrom } from './client'

test('the server’s sentence is kept', () => {
  expect(errorFrom(409, '{"code":"class_exists","message":"It exists."}')).toMatchObject({ status: 409, code: 'class_exists', message: 'It exists.' })
})

test.each(['', '<html>Bad gateway</html>', '{"message":7}', 'null', '[]'])('a body without one (%j) gives a sentence', (body) => {
  expect(errorFrom(502, body)).toMatchObject({ code: 'http_502', message: 'The controller answered with status 502 and no reason.' })
})
