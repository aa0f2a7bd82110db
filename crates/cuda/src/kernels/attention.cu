// Causal grouped-query attention over packed sequences, forward and backward, on matrix units
// (Dao, 2023, FlashAttention-2). Probabilities are computed again from the saved log-sum-exp.
//
// A tree's rows are a prefix and, right behind it, the continuations that share it. A query sees its
// prefix and, causally, its own segment; so a key is seen by the rows from its own on, up to the end
// of its segment, or of its tree if it belongs to the prefix.

#define STRIDE (HEAD_PAD + 8)
#define QUERIES 64
#define KEYS 64
#define STEPS (HEAD_PAD / 16)
#define COLUMNS (HEAD_PAD / 8)

// Rows of one block: queries begin..end, whose keys are prefix_begin..prefix_end and own_begin..end.
struct QueryTile { int begin, end, own_begin, prefix_begin, prefix_end; };
// Rows of one block: keys begin..end, whose queries are begin..query_end.
struct KeyTile { int begin, end, query_end; };

// Copies `rows` rows of one head to shared memory, zeros where there is nothing.
__device__ __forceinline__ void load_rows(bf16* target, const bf16* source, long width, int first, int end,
                                          int rows) {
    for (int i = threadIdx.x; i < rows * (HEAD_PAD / 8); i += blockDim.x) {
        int row = i / (HEAD_PAD / 8), column = i % (HEAD_PAD / 8) * 8;
        bool valid = first + row < end && column < HEAD_DIM;
        copy_async(target + row * STRIDE + column, valid ? source + (first + row) * width + column : source, valid);
    }
}

// Where a lane finds its row for load_matrices: 16 x 16 of a left factor; of a right one that lies
// [column][depth]; of a right one that lies [depth][column].
__device__ __forceinline__ const bf16* left_row(const bf16* tile, int row, int column) {
    int lane = threadIdx.x & 31;
    return tile + (row + (lane & 15)) * STRIDE + column + (lane >> 4) * 8;
}
__device__ __forceinline__ const bf16* right_row(const bf16* tile, int row, int column) {
    int lane = threadIdx.x & 31;
    return tile + (row + (lane & 7) + (lane >> 4) * 8) * STRIDE + column + ((lane >> 3) & 1) * 8;
}
__device__ __forceinline__ const bf16* right_row_transposed(const bf16* tile, int row, int column) {
    int lane = threadIdx.x & 31;
    return tile + (row + (lane & 15)) * STRIDE + column + (lane >> 4) * 8;
}

// out [16, 16 PAIRS] += left [16 rows from left_at, HEAD] times right [16 PAIRS rows, HEAD] transposed.
template <int PAIRS>
__device__ __forceinline__ void multiply_heads(float (*out)[4], const bf16* left, int left_at, const bf16* right) {
    #pragma unroll
    for (int step = 0; step < STEPS; step++) {
        u32 a[4];
        load_matrices(a, left_row(left, left_at, step * 16));
        #pragma unroll
        for (int pair = 0; pair < PAIRS; pair++) {
            u32 b[4];
            load_matrices(b, right_row(right, pair * 16, step * 16));
            matrix_multiply(out[2 * pair], a, b[0], b[1]);
            matrix_multiply(out[2 * pair + 1], a, b[2], b[3]);
        }
    }
}

// out [16, HEAD] += weights [16, 16 PAIRS] times right [16 PAIRS rows, HEAD].
template <int PAIRS>
__device__ __forceinline__ void multiply_weights(float (*out)[4], const float (*weights)[4], const bf16* right) {
    #pragma unroll
    for (int pair = 0; pair < PAIRS; pair++) {
        const float* left = weights[2 * pair]; const float* next = weights[2 * pair + 1];
        u32 a[4] = {pack(left[0], left[1]), pack(left[2], left[3]), pack(next[0], next[1]), pack(next[2], next[3])};
        #pragma unroll
        for (int step = 0; step < STEPS; step++) {
            u32 b[4];
            load_matrices_transposed(b, right_row_transposed(right, pair * 16, step * 16));
            matrix_multiply(out[2 * step], a, b[0], b[1]);
            matrix_multiply(out[2 * step + 1], a, b[2], b[3]);
        }
    }
}

// Writes 16 rows of a head from a warp's accumulators.
__device__ __forceinline__ void store_rows(bf16* target, long width, int row, int end, const float (*values)[4],
                                           float first, float second) {
    int lane = threadIdx.x & 31, g = lane >> 2, c = lane & 3;
    #pragma unroll
    for (int column = 0; column < COLUMNS; column++) {
        int at = column * 8 + c * 2;
        if (at >= HEAD_DIM) continue;
        const float* value = values[column];
        if (row + g < end)
            *reinterpret_cast<u32*>(target + (row + g) * width + at) = pack(value[0] * first, value[1] * first);
        if (row + g + 8 < end)
            *reinterpret_cast<u32*>(target + (row + g + 8) * width + at) = pack(value[2] * second, value[3] * second);
    }
}

// The blocks of keys that a tile of queries sees, one after the other.
__device__ __forceinline__ int key_blocks(const QueryTile& tile, int size) {
    return (tile.prefix_end - tile.prefix_begin + size - 1) / size + (tile.end - tile.own_begin + size - 1) / size;
}
__device__ __forceinline__ void key_block(const QueryTile& tile, int size, int index, int* first, int* end) {
    int before = (tile.prefix_end - tile.prefix_begin + size - 1) / size;
    bool prefix = index < before;
    *first = prefix ? tile.prefix_begin + index * size : tile.own_begin + (index - before) * size;
    *end = prefix ? tile.prefix_end : tile.end;
}

// out = softmax(q k' scale) v. qkv is [T, width], out [T, heads * HEAD_DIM], log_sum_exp [T, heads].
// A block: 64 queries of one head; a warp: 16 of them.
extern "C" __global__ void __launch_bounds__(128)
attention_forward(const bf16* qkv, bf16* out, float* log_sum_exp, const QueryTile* tiles, int heads, int key_heads,
                  float scale) {
    extern __shared__ __align__(16) bf16 shared[];
    bf16* query = shared;
    bf16* keys = query + QUERIES * STRIDE;         // two buffers
    bf16* values = keys + 2 * KEYS * STRIDE;       // two buffers
    QueryTile tile = tiles[blockIdx.x];
    int head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane >> 2, c = lane & 3;
    long width = (long)(heads + 2 * key_heads) * HEAD_DIM;
    const bf16* key_source = qkv + (heads + head / GROUP) * HEAD_DIM;
    const bf16* value_source = key_source + key_heads * HEAD_DIM;
    int blocks = key_blocks(tile, KEYS), first, end;

    load_rows(query, qkv + head * HEAD_DIM, width, tile.begin, tile.end, QUERIES);
    key_block(tile, KEYS, 0, &first, &end);
    load_rows(keys, key_source, width, first, end, KEYS);
    load_rows(values, value_source, width, first, end, KEYS);
    commit_copies();

    float sums[COLUMNS][4] = {};
    float max[2] = {NEGATIVE_INFINITY, NEGATIVE_INFINITY}, total[2] = {0.0f, 0.0f};
    float factor = scale * LOG2_E;
    int row[2] = {tile.begin + warp * 16 + g, tile.begin + warp * 16 + g + 8};
    for (int block = 0; block < blocks; block++) {
        bf16* key = keys + (block & 1) * KEYS * STRIDE;
        bf16* value = values + (block & 1) * KEYS * STRIDE;
        if (block + 1 < blocks) {
            int next, next_end;
            key_block(tile, KEYS, block + 1, &next, &next_end);
            load_rows(keys + ((block + 1) & 1) * KEYS * STRIDE, key_source, width, next, next_end, KEYS);
            load_rows(values + ((block + 1) & 1) * KEYS * STRIDE, value_source, width, next, next_end, KEYS);
            commit_copies();
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
        key_block(tile, KEYS, block, &first, &end);
        float scores[KEYS / 8][4] = {};
        multiply_heads<KEYS / 16>(scores, query, warp * 16, key);
        bool whole = first + KEYS <= end && first + KEYS - 1 <= tile.begin + warp * 16;
        float top[2] = {max[0], max[1]};
        #pragma unroll
        for (int column = 0; column < KEYS / 8; column++) {
            #pragma unroll
            for (int k = 0; k < 4; k++) {
                int position = first + column * 8 + c * 2 + (k & 1);
                bool seen = whole || (position < end && position <= row[k >> 1]);
                scores[column][k] = seen ? scores[column][k] * factor : NEGATIVE_INFINITY;
                top[k >> 1] = fmaxf(top[k >> 1], scores[column][k]);
            }
        }
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            top[half] = fmaxf(top[half], __shfl_xor_sync(FULL_WARP, top[half], 1));
            top[half] = fmaxf(top[half], __shfl_xor_sync(FULL_WARP, top[half], 2));
            // A row that has seen nothing yet has no maximum; zero does as well.
            float base = top[half] == NEGATIVE_INFINITY ? 0.0f : top[half];
            float shrink = power_of_two(max[half] - base);
            max[half] = top[half];
            total[half] *= shrink;
            #pragma unroll
            for (int column = 0; column < COLUMNS; column++) {
                sums[column][2 * half] *= shrink;
                sums[column][2 * half + 1] *= shrink;
            }
            #pragma unroll
            for (int column = 0; column < KEYS / 8; column++) {
                #pragma unroll
                for (int k = 2 * half; k < 2 * half + 2; k++) {
                    scores[column][k] = power_of_two(scores[column][k] - base);
                    total[half] += scores[column][k];
                }
            }
        }
        multiply_weights<KEYS / 16>(sums, scores, value);
        __syncthreads();
    }
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        total[half] += __shfl_xor_sync(FULL_WARP, total[half], 1);
        total[half] += __shfl_xor_sync(FULL_WARP, total[half], 2);
        if (c == 0 && row[half] < tile.end)
            log_sum_exp[(long)row[half] * heads + head] = max[half] / LOG2_E + logf(total[half]);
    }
    store_rows(out + head * HEAD_DIM, (long)heads * HEAD_DIM, tile.begin + warp * 16, tile.end, sums,
               1.0f / total[0], 1.0f / total[1]);
}

// delta[t, head] = the dot product of a head's output with its gradient. One warp a head.
extern "C" __global__ void attention_delta(const bf16* out, const bf16* out_gradient, float* delta, int items) {
    int item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (item >= items) return;
    float sum = 0.0f;
    for (int i = (threadIdx.x & 31) * 2; i < HEAD_DIM; i += 64) {
        u32 a = *reinterpret_cast<const u32*>(out + (long)item * HEAD_DIM + i);
        u32 b = *reinterpret_cast<const u32*>(out_gradient + (long)item * HEAD_DIM + i);
        sum += low(a) * low(b) + high(a) * high(b);
    }
    sum = warp_sum(sum);
    if ((threadIdx.x & 31) == 0) delta[item] = sum;
}

#define PART 32

// The gradients of keys and values. A block: 64 keys of one key head, all query heads of its group
// one after the other; a warp: 16 keys.
extern "C" __global__ void __launch_bounds__(128)
attention_backward_keys(const bf16* qkv, const bf16* out_gradient, const float* log_sum_exp, const float* delta,
                        bf16* gradient, const KeyTile* tiles, int heads, int key_heads, float scale) {
    extern __shared__ __align__(16) bf16 shared[];
    bf16* key = shared;
    bf16* value = key + KEYS * STRIDE;
    bf16* queries = value + KEYS * STRIDE;            // two buffers
    bf16* slopes = queries + 2 * PART * STRIDE;       // two buffers
    float* logs = reinterpret_cast<float*>(slopes + 2 * PART * STRIDE);   // two buffers
    float* deltas = logs + 2 * PART;                  // two buffers
    KeyTile tile = tiles[blockIdx.x];
    int warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane >> 2, c = lane & 3;
    long width = (long)(heads + 2 * key_heads) * HEAD_DIM, out_width = (long)heads * HEAD_DIM;
    const bf16* key_source = qkv + (heads + blockIdx.y) * HEAD_DIM;
    const bf16* value_source = key_source + key_heads * HEAD_DIM;
    int parts = (tile.query_end - tile.begin + PART - 1) / PART, rounds = parts * GROUP;

    auto load_round = [&](int round) {
        int head = blockIdx.y * GROUP + round / parts, first = tile.begin + round % parts * PART, to = round & 1;
        load_rows(queries + to * PART * STRIDE, qkv + head * HEAD_DIM, width, first, tile.query_end, PART);
        load_rows(slopes + to * PART * STRIDE, out_gradient + head * HEAD_DIM, out_width, first, tile.query_end, PART);
        commit_copies();
        if (threadIdx.x < PART) {
            int at = first + threadIdx.x;
            bool valid = at < tile.query_end;
            logs[to * PART + threadIdx.x] = valid ? log_sum_exp[(long)at * heads + head] * LOG2_E : 0.0f;
            deltas[to * PART + threadIdx.x] = valid ? delta[(long)at * heads + head] : 0.0f;
        }
    };
    load_rows(key, key_source, width, tile.begin, tile.end, KEYS);
    load_rows(value, value_source, width, tile.begin, tile.end, KEYS);
    load_round(0);

    float key_sums[COLUMNS][4] = {}, value_sums[COLUMNS][4] = {};
    float factor = scale * LOG2_E;
    for (int round = 0; round < rounds; round++) {
        int at = round & 1, first = tile.begin + round % parts * PART;
        if (round + 1 < rounds) {
            load_round(round + 1);
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
        bf16* query = queries + at * PART * STRIDE;
        bf16* slope = slopes + at * PART * STRIDE;
        // Transposed: rows are keys, columns are queries.
        float weights[PART / 8][4] = {}, score_gradient[PART / 8][4] = {};
        multiply_heads<PART / 16>(weights, key, warp * 16, query);
        multiply_heads<PART / 16>(score_gradient, value, warp * 16, slope);
        #pragma unroll
        for (int column = 0; column < PART / 8; column++) {
            #pragma unroll
            for (int k = 0; k < 4; k++) {
                int q = column * 8 + c * 2 + (k & 1);
                int position = tile.begin + warp * 16 + g + (k >> 1) * 8;
                bool seen = first + q < tile.query_end && position < tile.end && position <= first + q;
                float weight = seen ? power_of_two(weights[column][k] * factor - logs[at * PART + q]) : 0.0f;
                weights[column][k] = weight;
                score_gradient[column][k] = weight * (score_gradient[column][k] - deltas[at * PART + q]);
            }
        }
        multiply_weights<PART / 16>(value_sums, weights, slope);
        multiply_weights<PART / 16>(key_sums, score_gradient, query);
        __syncthreads();
    }
    bf16* key_target = gradient + (heads + blockIdx.y) * HEAD_DIM;
    store_rows(key_target, width, tile.begin + warp * 16, tile.end, key_sums, scale, scale);
    store_rows(key_target + key_heads * HEAD_DIM, width, tile.begin + warp * 16, tile.end, value_sums, 1.0f, 1.0f);
}

// The gradient of queries. A block: 64 queries of one head; a warp: 16 of them.
extern "C" __global__ void __launch_bounds__(128)
attention_backward_queries(const bf16* qkv, const bf16* out_gradient, const float* log_sum_exp, const float* delta,
                           bf16* gradient, const QueryTile* tiles, int heads, int key_heads, float scale) {
    extern __shared__ __align__(16) bf16 shared[];
    bf16* query = shared;
    bf16* slope = query + QUERIES * STRIDE;
    bf16* keys = slope + QUERIES * STRIDE;            // two buffers
    bf16* values = keys + 2 * PART * STRIDE;          // two buffers
    QueryTile tile = tiles[blockIdx.x];
    int head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane >> 2, c = lane & 3;
    long width = (long)(heads + 2 * key_heads) * HEAD_DIM, out_width = (long)heads * HEAD_DIM;
    const bf16* key_source = qkv + (heads + head / GROUP) * HEAD_DIM;
    const bf16* value_source = key_source + key_heads * HEAD_DIM;
    int blocks = key_blocks(tile, PART), first, end;

    load_rows(query, qkv + head * HEAD_DIM, width, tile.begin, tile.end, QUERIES);
    load_rows(slope, out_gradient + head * HEAD_DIM, out_width, tile.begin, tile.end, QUERIES);
    key_block(tile, PART, 0, &first, &end);
    load_rows(keys, key_source, width, first, end, PART);
    load_rows(values, value_source, width, first, end, PART);
    commit_copies();

    float sums[COLUMNS][4] = {};
    float factor = scale * LOG2_E, logs[2], deltas[2];
    int row[2] = {tile.begin + warp * 16 + g, tile.begin + warp * 16 + g + 8};
    #pragma unroll
    for (int half = 0; half < 2; half++) {
        bool valid = row[half] < tile.end;
        logs[half] = valid ? log_sum_exp[(long)row[half] * heads + head] * LOG2_E : 0.0f;
        deltas[half] = valid ? delta[(long)row[half] * heads + head] : 0.0f;
    }
    for (int block = 0; block < blocks; block++) {
        bf16* key = keys + (block & 1) * PART * STRIDE;
        bf16* value = values + (block & 1) * PART * STRIDE;
        if (block + 1 < blocks) {
            int next, next_end;
            key_block(tile, PART, block + 1, &next, &next_end);
            load_rows(keys + ((block + 1) & 1) * PART * STRIDE, key_source, width, next, next_end, PART);
            load_rows(values + ((block + 1) & 1) * PART * STRIDE, value_source, width, next, next_end, PART);
            commit_copies();
            wait_for_copies<1>();
        } else {
            wait_for_copies<0>();
        }
        __syncthreads();
        key_block(tile, PART, block, &first, &end);
        float weights[PART / 8][4] = {}, score_gradient[PART / 8][4] = {};
        multiply_heads<PART / 16>(weights, query, warp * 16, key);
        multiply_heads<PART / 16>(score_gradient, slope, warp * 16, value);
        #pragma unroll
        for (int column = 0; column < PART / 8; column++) {
            #pragma unroll
            for (int k = 0; k < 4; k++) {
                int position = first + column * 8 + c * 2 + (k & 1);
                bool seen = position < end && position <= row[k >> 1];
                float weight = seen ? power_of_two(weights[column][k] * factor - logs[k >> 1]) : 0.0f;
                score_gradient[column][k] = weight * (score_gradient[column][k] - deltas[k >> 1]);
            }
        }
        multiply_weights<PART / 16>(sums, score_gradient, key);
        __syncthreads();
    }
    store_rows(gradient + head * HEAD_DIM, width, tile.begin + warp * 16, tile.end, sums, scale, scale);
}
