//! What the attention kernels need to know of a packed batch.

use transformer::PackedBatch;

/// Queries, and keys, of one block.
const ROWS: usize = 64;

/// `QueryTile` of `attention.cu`: begin, end, own_begin, prefix_begin, prefix_end.
pub type QueryTile = [i32; 5];
/// `KeyTile` of `attention.cu`: begin, end, query_end.
pub type KeyTile = [i32; 3];

/// The blocks of a batch, the longest work first so that none is left over at the end.
pub fn tiles(batch: &PackedBatch) -> (Vec<QueryTile>, Vec<KeyTile>) {
    let (mut queries, mut keys) = (Vec::new(), Vec::new());
    for tree in 0..batch.trees.len() {
        let segments = &batch.segments[batch.trees[tree].clone()];
        let tree_end = batch.tree_rows(tree).end;
        for (index, segment) in segments.iter().enumerate() {
            // What continuations share is seen by all of them; their rows follow it.
            let shared = segments.get(index + 1).is_some_and(|next| next.prefix == segment.rows);
            let query_end = if shared { tree_end } else { segment.rows.end };
            for begin in segment.rows.clone().step_by(ROWS) {
                let end = (begin + ROWS).min(segment.rows.end);
                let (own, prefix) = (segment.rows.start, &segment.prefix);
                queries.push([begin, end, own, prefix.start, prefix.end].map(|row| row as i32));
                keys.push([begin, end, query_end].map(|row| row as i32));
            }
        }
    }
    queries.sort_by_key(|&[_, end, own, prefix, prefix_end]| own - end + prefix - prefix_end);
    keys.sort_by_key(|&[begin, _, query_end]| begin - query_end);
    (queries, keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_tile_and_a_prefix_is_seen_by_its_whole_tree() {
        let mut batch = PackedBatch::default();
        batch.push_sequence(&[1; 70]);
        batch.push_tree(&[2; 65], [&[3u32; 10][..], &[4; 130]]);
        let (queries, keys) = tiles(&batch);
        let mut covered = vec![0; batch.rows()];
        for [begin, end, ..] in &queries {
            covered[*begin as usize..*end as usize].iter_mut().for_each(|count| *count += 1);
        }
        assert!(covered.iter().all(|&count| count == 1));
        assert_eq!(queries.len(), 2 + 2 + 1 + 3);
        let whole_tree = keys.iter().filter(|tile| tile[2] == 275).map(|tile| tile[0]);
        assert_eq!(whole_tree.filter(|&begin| begin < 135).count(), 2);
        assert!(queries.iter().any(|tile| tile == &[145, 209, 145, 70, 135]));
    }
}
