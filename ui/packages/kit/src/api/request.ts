/** The one way an answer of the machine becomes data or an error. */

/** The machine answered, and it was a refusal or a fault. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly remedy: string,
    readonly code: string,
  ) {
    super(message)
    this.name = 'ApiError'
  }
}

interface Answer<T> {
  data?: T
  error?: unknown
  response: Response
}

let over: () => void = () => undefined

/** Say what to do when the machine answers that the session is over. */
export function onSessionOver(act: () => void): void {
  over = act
}

/** The machine said that the session is over. */
export function sessionOver(): void {
  over()
}

function part(body: unknown, key: string): string {
  const value = typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[key] : ''
  return typeof value === 'string' ? value : ''
}

/** Unpack an openapi-fetch answer; raises ApiError, or what fetch raised when nobody answered. */
export async function answerOf<T>(asked: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await asked
  if (response.ok) return data as T
  if (response.status === 401) sessionOver()
  throw new ApiError(response.status, part(error, 'message'), part(error, 'remedy'), part(error, 'code'))
}
