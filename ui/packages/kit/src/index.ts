/** What the apps use of the kit. */
export { ApiError, answerOf } from './api/request'
export { default as DataGrid, type Column } from './components/data-grid.svelte'
export { default as PageShell } from './components/page-shell.svelte'
export { default as QualityMark } from './components/quality-mark.svelte'
export { default as SessionGate } from './components/session-gate.svelte'
export { default as SessionForm } from './components/session-form.svelte'
export { default as TagName } from './components/tag-name.svelte'
export { default as StateBadge } from './components/state-badge.svelte'
export { default as StateIcon } from './components/state-icon.svelte'
export {
  freshness,
  qualityOf,
  worst,
  STALE_AFTER_MS,
  type Freshness,
  type QualityWord,
  type StateWord,
} from './components/states'
export { default as StatusStrip, type StripCell } from './components/status-strip.svelte'
export * from './format/number'
export * from './format/time'
export * from './format/value'
export { createTranslator, type Translation } from './i18n/translate'
export { LiveSocket, type LiveMessage } from './live/socket'
export { browserNow_ms, MachineClock } from './state/clock.svelte'
export { display } from './state/display.svelte'
export { notices } from './state/notices.svelte'
export { Poll } from './state/poll.svelte'
export { Session, type SessionApi, type SessionState } from './state/session.svelte'
export { Pages, type Page } from './table/pages.svelte'
export { append, EMPTY, held, prepend, type Series } from './trend/series'
export { default as Trend } from './trend/trend.svelte'
