//! The KV cache: what is written to its pages, and attention over them.

use super::Ops;
use crate::Error;
use crate::memory::Address;
use crate::pages::Pages;
use cudarc::driver::{DeviceRepr, PushKernelArg};

/// `Slots` of `cache.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SlotTable {
    tokens: Address<i32>,
    lengths: Address<i32>,
    prefixes: Address<i32>,
    pages: Address<i32>,
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
    pub tokens: Address<i32>,
    /// Positions in each slot's own pages.
    pub lengths: Address<i32>,
    /// Positions in the pages of each slot's prompt.
    pub prefixes: Address<i32>,
    /// Pages of each slot: `[slots, width]`, those of the prompt first, its own from `own_at` on.
    pub table: Address<i32>,
    /// Pages that a slot may have.
    pub width: usize,
    /// Where its own begin.
    pub own_at: usize,
}

impl SlotCache<'_> {
    fn slots(&self) -> SlotTable {
        SlotTable {
            tokens: self.tokens,
            lengths: self.lengths,
            prefixes: self.prefixes,
            pages: self.table,
            width: self.width as i32,
            own_at: self.own_at as i32,
        }
    }
}

impl Ops {
    /// Rotates the queries and keys of each slot's new position, unless there is no `rotary` table, and
    /// stores its keys and values.
    pub fn rotate_and_store(
        &self,
        cache: &SlotCache,
        layer: usize,
        qkv: Address<u16>,
        rotary: Option<Address<f32>>,
        rows: usize,
    ) -> Result<(), Error> {
        let warps = rows * (self.heads + self.key_heads) as usize;
        launch!(
            self,
            "rotate_and_store",
            (warps.div_ceil(4), 1),
            128,
            cache.pages.layer(layer),
            qkv,
            cache.slots(),
            rotary.unwrap_or(Address::null()),
            rows as i32,
            self.heads,
            self.key_heads
        )
    }

    /// `out [slots, Q]`: attention of each slot's new position over its prompt and itself.
    pub fn attend_cache(
        &self,
        cache: &SlotCache,
        layer: usize,
        qkv: Address<u16>,
        out: Address<u16>,
        rows: usize,
    ) -> Result<(), Error> {
        launch!(
            self,
            "attend_cache",
            (rows, self.key_heads as usize),
            128,
            cache.pages.layer(layer),
            qkv,
            out,
            cache.slots(),
            self.heads,
            self.key_heads,
            self.scale
        )
    }

    /// Fills a layer's pages from the queries, keys and values `[T, QKV]` of whole prompts: each row goes
    /// to a page, and a place in it.
    pub fn store_prompt(
        &self,
        pages: Address<u16>,
        qkv: Address<u16>,
        (page_of, place_of): (Address<i32>, Address<i32>),
        rows: usize,
    ) -> Result<(), Error> {
        let warps = rows * self.key_heads as usize;
        launch!(
            self,
            "store_prompt",
            (warps.div_ceil(4), 1),
            128,
            pages,
            qkv,
            page_of,
            place_of,
            rows as i32,
            self.heads,
            self.key_heads
        )
    }
}
