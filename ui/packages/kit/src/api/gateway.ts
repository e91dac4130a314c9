/** The gateway's HTTP API, typed by its own OpenAPI document (`npm run api`). */
import createClient from 'openapi-fetch'
import type { components, paths } from './generated/gateway'

type Schemas = components['schemas']
export type GatewayStatus = Schemas['GatewayStatus']
export type Strip = Schemas['Strip']
export type Cell = Schemas['Cell']
export type Counters = Schemas['Counters']
export type SinkStatus = Schemas['SinkStatus']
export type SourceStatus = Schemas['SourceStatus']
export type TagRow = Schemas['TagRow']
export type TagPage = Schemas['TagPage']
export type TrendColumns = Schemas['TrendColumns']
export type Loss = Schemas['Loss']
export type SessionState = Schemas['SessionState']

/** A value as the live WebSocket sends it (`gateway.web.views.LiveValue`). */
export interface LiveValue {
  readonly index: number
  readonly value: TagRow['value']
  readonly status: number
  readonly time_us: number
}

export const gateway = createClient<paths>({ baseUrl: location.origin, credentials: 'same-origin' })
