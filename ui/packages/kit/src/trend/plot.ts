/** The one door to uPlot: options in our colours, axes in our zone, gaps hatched. */
import uPlot from 'uplot'
import { decimal } from '../format/number'
import { clockTime, dayName, shortTime } from '../format/time'
import { gaps, type Series } from './series'

const DAY_S = 86_400
const AXIS_GAP_PX = 6

interface Colours {
  readonly line: string
  readonly band: string
  readonly grid: string
  readonly text: string
  readonly hatch: string
}

/** Tokens may be unresolved `light-dark()` texts; a painted element has the colour itself. */
function coloursOf(host: HTMLElement): Colours {
  const probe = document.createElement('i')
  host.append(probe)
  const read = (token: string) => {
    probe.style.color = `var(${token})`
    return getComputedStyle(probe).color
  }
  const colours = {
    line: read('--trend'),
    band: read('--trend-band'),
    grid: read('--trend-grid'),
    text: read('--muted'),
    hatch: read('--trend-hatch'),
  }
  probe.remove()
  return colours
}

/** Computed colours read `rgb(1, 2, 3)`; old canvases do not know color-mix. */
function translucent(colour: string): string {
  return colour.replace(/^rgb\((.*)\)$/, 'rgba($1, 0.35)')
}

function hatched(colour: string): CanvasPattern | null {
  const tile = document.createElement('canvas')
  tile.width = tile.height = 8
  const pen = tile.getContext('2d')
  if (pen === null) return null
  pen.strokeStyle = colour
  pen.lineWidth = 1
  pen.beginPath()
  pen.moveTo(-2, 10)
  pen.lineTo(10, -2)
  pen.stroke()
  return pen.createPattern(tile, 'repeat')
}

function timeLabel(time_s: number, step_s: number): string {
  const time_ms = time_s * 1000
  if (step_s >= DAY_S) return dayName(time_ms)
  return step_s < 60 ? clockTime(time_ms) : shortTime(time_ms)
}

/** The columns in uPlot's order; a band's edges come before the line. */
export function aligned(series: Series): uPlot.AlignedData {
  const { time_s, value, low, high } = series
  const columns = low && high ? [time_s, high, low, value] : [time_s, value]
  return columns as unknown as uPlot.AlignedData
}

export interface PlotOptions {
  readonly band: boolean
  readonly stepped: boolean
  readonly range: () => readonly [number, number]
  readonly series: () => Series
  readonly onPoint: (index: number | null) => void
}

function paintGaps(plot: uPlot, series: Series, pattern: CanvasPattern | null): void {
  if (pattern === null) return
  const { left, top, width, height } = plot.bbox
  plot.ctx.save()
  plot.ctx.beginPath()
  plot.ctx.rect(left, top, width, height)
  plot.ctx.clip()
  plot.ctx.fillStyle = pattern
  for (const [from_s, to_s] of gaps(series)) {
    const x = plot.valToPos(from_s, 'x', true)
    plot.ctx.fillRect(x, top, plot.valToPos(to_s, 'x', true) - x, height)
  }
  plot.ctx.restore()
}

/** As many decimals as tell two neighbouring ticks apart exactly. */
function digitsFor(step: number): 0 | 1 | 2 | 3 {
  for (const digits of [0, 1, 2] as const) {
    const scaled = step * 10 ** digits
    if (Math.abs(scaled - Math.round(scaled)) < 1e-6 && scaled >= 1) return digits
  }
  return 3
}

function valueRange(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1]
  const pad = (high - low) * 0.08 || Math.abs(high) * 0.02 || 1
  return [low - pad, high + pad]
}

/** Draw into `host`; colours are read once, so make a new plot when the theme changes. */
export function createPlot(host: HTMLElement, options: PlotOptions): uPlot {
  const colours = coloursOf(host)
  const pattern = hatched(colours.hatch)
  const font = `12px ${getComputedStyle(host).fontFamily}`
  const axis: uPlot.Axis = {
    stroke: colours.text,
    font,
    gap: AXIS_GAP_PX,
    grid: { stroke: colours.grid, width: 1 },
    ticks: { show: false },
  }
  const paths = options.stepped ? uPlot.paths.stepped?.({ align: 1 }) : undefined
  const line: uPlot.Series = {
    stroke: colours.line,
    width: 2,
    points: { show: false },
    spanGaps: false,
    ...(paths ? { paths } : {}),
  }
  const edge: uPlot.Series = { stroke: colours.band, width: 1, points: { show: false } }
  return new uPlot(
    {
      width: Math.max(1, host.clientWidth),
      height: Math.max(1, host.clientHeight),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 8 } },
      scales: {
        x: { time: true, range: () => [...options.range()] as [number, number] },
        y: { range: (_, low, high) => valueRange(low, high) },
      },
      series: options.band ? [{}, edge, { ...edge, dash: [4, 3] }, line] : [{}, line],
      ...(options.band ? { bands: [{ series: [1, 2] as [number, number], fill: translucent(colours.band) }] } : {}),
      axes: [
        { ...axis, size: 28, space: 48, values: (_, splits, __, ___, step_s) => splits.map((time_s) => timeLabel(time_s, step_s)) },
        {
          ...axis,
          size: (_, values) => 14 + 7 * Math.max(3, ...(values ?? []).map((value) => value.length)),
          values: (_, splits, __, ___, step) =>
            splits.map((value) => decimal(value, digitsFor(step))),
        },
      ],
      hooks: {
        drawAxes: [(plot) => paintGaps(plot, options.series(), pattern)],
        setCursor: [(plot) => options.onPoint(plot.cursor.idx ?? null)],
      },
    },
    aligned(options.series()),
    host,
  )
}
