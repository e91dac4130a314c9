/** The hub's HTTP API, typed by its own OpenAPI document (`npm run api`). */
import createClient from 'openapi-fetch'
import type { components, paths } from './generated/central'

type Schemas = components['schemas']
export type Overview = Schemas['OverviewAnswer']
export type Gateway = Schemas['GatewayAnswer']
export type Completeness = Schemas['CompletenessAnswer']
export type Epoch = Schemas['EpochCompleteness']
export type Tag = Schemas['TagAnswer']
export type Buckets = Schemas['BucketsAnswer']
export type LossInfo = Schemas['LossInfo']
export type HubStatus = Schemas['StatusAnswer']
export type SessionAnswer = Schemas['SessionAnswer']

export const central = createClient<paths>({ baseUrl: location.origin, credentials: 'same-origin' })
