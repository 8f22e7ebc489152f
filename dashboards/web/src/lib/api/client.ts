import type {
  CreateClass,
  CreatedToken,
  CreateToken,
  EndClass,
  Login,
  Session,
  Timeline,
  TokenInfo,
} from './types'

/** The server's answer was not a success, or there was none (`status` 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message)
    this.name = 'ApiError'
  }
}

/** A controller that takes longer is not answering: a long class's history takes a second or two. */
const TIMEOUT_MS = 20_000

type Method = 'GET' | 'POST' | 'DELETE'

let csrf: string | null = null
let onUnauthorised: () => void = () => {}

/** The token that requests that change something carry; `null` after log-out. */
export function setCsrf(token: string | null): void {
  csrf = token
}

/** Called when a request finds that the session is over. */
export function setUnauthorised(handler: () => void): void {
  onUnauthorised = handler
}

async function request<T>(method: Method, path: string, body?: unknown): Promise<T> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (body !== undefined) headers['content-type'] = 'application/json'
  if (method !== 'GET' && csrf !== null) headers['x-corridor-csrf'] = csrf
  let response: Response
  let text: string
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      headers,
      credentials: 'same-origin',
      cache: 'no-store',
      signal: AbortSignal.timeout(TIMEOUT_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    text = await response.text()
  } catch {
    throw new ApiError(0, 'unreachable', 'The controller does not answer.')
  }
  if (response.ok) return (text === '' ? undefined : JSON.parse(text)) as T
  const error = errorFrom(response.status, text)
  if (response.status === 401 && path !== '/login' && path !== '/session') onUnauthorised()
  throw error
}

/** The error in a failed answer's body; a body that holds none gives a sentence of our own. */
export function errorFrom(status: number, body: string): ApiError {
  try {
    const parsed: unknown = JSON.parse(body)
    if (typeof parsed === 'object' && parsed !== null && 'message' in parsed) {
      const { message } = parsed
      const code = 'code' in parsed && typeof parsed.code === 'string' ? parsed.code : `http_${status}`
      if (typeof message === 'string' && message !== '') return new ApiError(status, code, message)
    }
  } catch {
    // Not JSON: a proxy's page, perhaps.
  }
  return new ApiError(status, `http_${status}`, `The controller answered with status ${status} and no reason.`)
}

const segment = encodeURIComponent

export const api = {
  session: () => request<Session>('GET', '/session'),
  login: (body: Login) => request<Session>('POST', '/login', body),
  logout: () => request<void>('POST', '/logout'),
  createClass: (body: CreateClass) => request<unknown>('POST', '/classes', body),
  endClass: (id: string, body: EndClass) => request<unknown>('POST', `/classes/${segment(id)}/end`, body),
  timeline: (id: string, from: string, to: string) =>
    request<Timeline>('GET', `/classes/${segment(id)}/timeline?from=${segment(from)}&to=${segment(to)}`),
  drainEdge: (name: string, on: boolean) => request<unknown>('POST', `/edges/${segment(name)}/drain`, { on }),
  tokens: () => request<TokenInfo[]>('GET', '/tokens'),
  createToken: (body: CreateToken) => request<CreatedToken>('POST', '/tokens', body),
  revokeToken: (id: string) => request<void>('DELETE', `/tokens/${segment(id)}`),
}

/** The sentence to show for whatever was thrown. */
export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : 'Something went wrong in this page.'
}
