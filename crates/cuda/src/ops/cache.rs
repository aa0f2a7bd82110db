//! The KV cache: what is written to its pages, and attention over them.

use super::Ops;
use crate::Error;
use crate::memory::{Argument, View};
use crate::pages::Pages;
use cudarc::driver::DeviceRepr;

/// `Slots` of `cache.cu`: addresses of integers, and two integers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SlotTable {
    tokens: u64,
    lengths: u64,
    prefixes: u64,
    pages: u64,
    width: i32,
    own_at: i32,
}

// SAFETY: four pointers and two integers, laid out as the kernel's structure.
unsafe impl DeviceRepr for SlotTable {}

/// The cache of the sequences in the slots of a decoding batch.
pub struct SlotCache<'a> {
    /// The pages of all layers.
    pub pages: &'a Pages,
    /// Last token of each slot; below zero where there is no sequence.
    pub tokens: View<'a, i32>,
    /// Positions in each slot's own pages.
    pub lengths: View<'a, i32>,
    /// Positions in the pages of each slot's prompt.
    pub prefixes: View<'a, i32>,
    /// Pages of each slot: `[slots, width]`, those of the prompt first, its own from `own_at` on.
    pub table: View<'a, i32>,
    /// Pages that a slot may have.
    pub width: usize,
    /// Where its own begin.
    pub own_at: usize,
}

/// What the kernels know of some slots.
struct Slots<'a>(&'a SlotCache<'a>, usize);

impl Argument for Slots<'_> {
    type Raw = SlotTable;

    fn argument(&self) -> SlotTable {
        let Slots(cache, slots) = *self;
        SlotTable {
            tokens: cache.tokens.first(slots).argument(),
            lengths: cache.lengths.first(slots).argument(),
            prefixes: cache.prefixes.first(slots).argument(),
            pages: cache.table.first(slots * cache.width).argument(),
            width: cache.width as i32,
            own_at: cache.own_at as i32,
        }
    }
}

impl Ops {
    /// `out [slots, Q]`: turns the queries and the key of each slot's new position, unless there is no
    /// `rotary` table, stores its keys and values, and attends over its prompt and itself.
    pub fn attend_cache(
        &self,
        cache: &SlotCache,
        layer: usize,
        qkv: View<u16>,
        rotary: Option<View<f32>>,
        out: View<u16>,
        rows: usize,
    ) -> Result<(), Error> {
        launch!(
            self,
            "attend_cache",
            (rows, self.key_heads as usize),
            128,
            cache.pages.layer(layer),
            qkv.first(rows * self.qkv_size()),
            out.first(rows * self.query_size()),
            Slots(cache, rows),
            rotary,
            self.heads,
            self.key_heads,
            self.scale
        )
    }

    /// Fills a layer's pages from the queries, keys and values `[T, QKV]` of whole prompts: each row goes
    /// to a page, and a place in it.
    pub fn store_prompt(
        &self,
        pages: View<u16>,
        qkv: View<u16>,
        (page_of, place_of): (View<i32>, View<i32>),
        rows: usize,
    ) -> Result<(), Error> {
        let warps = rows * self.key_heads as usize;
        launch!(
            self,
            "store_prompt",
            (warps.div_ceil(4), 1),
            128,
            pages,
            qkv.first(rows * self.qkv_size()),
            page_of.first(rows),
            place_of.first(rows),
            rows as i32,
            self.heads,
            self.key_heads
        )
    }
}
