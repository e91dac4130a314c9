/** Which rows of a long list to draw, by scroll position. */
export interface RowWindow {
  /** First row drawn, and one past the last. */
  readonly first: number
  readonly end: number
  /** First row seen, and one past the last. */
  readonly firstSeen: number
  readonly endSeen: number
}

const OVERSCAN_ROWS = 8

export function rowWindow(scrollTop_px: number, height_px: number, row_px: number, total: number): RowWindow {
  if (row_px <= 0 || total <= 0) return { first: 0, end: 0, firstSeen: 0, endSeen: 0 }
  const firstSeen = Math.min(Math.max(0, Math.floor(scrollTop_px / row_px)), total - 1)
  const endSeen = Math.min(total, Math.ceil((scrollTop_px + height_px) / row_px))
  return {
    first: Math.max(0, firstSeen - OVERSCAN_ROWS),
    end: Math.min(total, endSeen + OVERSCAN_ROWS),
    firstSeen,
    endSeen: Math.max(firstSeen, endSeen),
  }
}

/** The scroll position that shows `row` whole, moving as little as possible. */
export function scrollToShow(row: number, scrollTop_px: number, height_px: number, row_px: number): number {
  const top = row * row_px
  if (top < scrollTop_px) return top
  if (top + row_px > scrollTop_px + height_px) return top + row_px - height_px
  return scrollTop_px
}

/** Where a key of the grid moves the active row to; undefined when it is no moving key. */
export function moveRow(key: string, active: number, total: number, page: number): number | undefined {
  const moves: Record<string, number> = {
    ArrowDown: active + 1,
    ArrowUp: active - 1,
    PageDown: active + page,
    PageUp: active - page,
    Home: 0,
    End: total - 1,
  }
  const target = moves[key]
  return target === undefined || total === 0 ? undefined : Math.min(Math.max(0, target), total - 1)
}
