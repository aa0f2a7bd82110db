//! Sequences of any length, packed without padding.

use std::ops::Range;

/// Tokens that attend to each other causally, and to the prefix before them if there is one.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Rows of the batch.
    pub rows: Range<usize>,
    /// Rows of the shared prefix.
    pub prefix: Range<usize>,
}

/// A batch of token sequences, one after the other in `tokens`.
///
/// The rows of a *tree* are a prefix and the continuations that share it: the prefix is computed
/// once, however many continuations there are. A single sequence is a tree without continuations.
#[derive(Clone, Debug, Default)]
pub struct PackedBatch {
    /// Token of each row.
    pub tokens: Vec<u32>,
    /// Position of each row within its own sequence, from 0.
    pub positions: Vec<u32>,
    /// All segments, in row order.
    pub segments: Vec<Segment>,
    /// For each tree, its segments; trees do not see each other.
    pub trees: Vec<Range<usize>>,
}

impl PackedBatch {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// Adds one sequence and returns its rows.
    pub fn push_sequence(&mut self, tokens: &[u32]) -> Range<usize> {
        let segment = self.segments.len();
        let rows = self.push_segment(tokens, 0..0);
        self.trees.push(segment..segment + 1);
        rows
    }

    /// Adds a prefix and its continuations, and returns the rows of each continuation.
    pub fn push_tree<'a>(
        &mut self,
        prefix: &[u32],
        continuations: impl IntoIterator<Item = &'a [u32]>,
    ) -> Vec<Range<usize>> {
        let first = self.segments.len();
        let prefix_rows = match prefix.is_empty() {
            true => self.rows()..self.rows(),
            false => self.push_segment(prefix, 0..0),
        };
        let mut rows = Vec::new();
        for tokens in continuations {
            rows.push(self.push_segment(tokens, prefix_rows.clone()));
        }
        self.trees.push(first..self.segments.len());
        rows
    }

    fn push_segment(&mut self, tokens: &[u32], prefix: Range<usize>) -> Range<usize> {
        let rows = self.rows()..self.rows() + tokens.len();
        let first = prefix.len() as u32;
        self.tokens.extend_from_slice(tokens);
        self.positions.extend(first..first + tokens.len() as u32);
        self.segments.push(Segment { rows: rows.clone(), prefix });
        rows
    }

    /// The rows of one tree.
    pub fn tree_rows(&self, tree: usize) -> Range<usize> {
        let segments = &self.segments[self.trees[tree].clone()];
        match (segments.first(), segments.last()) {
            (Some(first), Some(last)) => first.rows.start..last.rows.end,
            _ => 0..0,
        }
    }

    /// The largest position, plus one.
    pub fn longest(&self) -> usize {
        self.positions.iter().max().map_or(0, |&position| position as usize + 1)
    }
}

/// Splits a buffer of `width` numbers a row into parts of so many rows.
pub(crate) fn split_rows(
    mut data: &mut [f32],
    rows: impl Iterator<Item = usize>,
    width: usize,
) -> Vec<&mut [f32]> {
    rows.map(|rows| {
        let (head, tail) = std::mem::take(&mut data).split_at_mut(rows * width);
        data = tail;
        head
    })
    .collect()
}

/// Splits items so that no part has more than `limit` rows, unless a single item does.
pub fn split_by_rows<T>(items: &[T], rows: impl Fn(&T) -> usize, limit: usize) -> Vec<&[T]> {
    let (mut parts, mut start, mut sum) = (Vec::new(), 0, 0);
    for (index, item) in items.iter().enumerate() {
        let size = rows(item);
        if index > start && sum + size > limit {
            parts.push(&items[start..index]);
            (start, sum) = (index, 0);
        }
        sum += size;
    }
    if start < items.len() {
        parts.push(&items[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_as_large_as_they_may_be() {
        let split = |sizes: &[usize]| {
            split_by_rows(sizes, |&size| size, 10).into_iter().map(<[usize]>::to_vec).collect::<Vec<_>>()
        };
        assert_eq!(split(&[4, 6, 1, 30, 2, 8, 1]), [vec![4, 6], vec![1], vec![30], vec![2, 8], vec![1]]);
        assert!(split(&[]).is_empty());
    }
}
