// The KV cache and attention over it.
//
// The cache lies in pages of PAGE positions. In each layer a page holds, for each key head, its keys
// [PAGE][CACHE_DIM] and then its values [PAGE / 2][CACHE_DIM][2]: two positions side by side, which is
// how the matrix instruction wants them. A sequence has pages of its own and, before them, those of
// its prompt, which all samples of the prompt share.

#define HALF_PAGE (PAGE * CACHE_DIM)

// Where the slots of the batch stand.
struct Slots {
    int* tokens;          // the last token; below zero marks a slot without a sequence
    int* lengths;         // positions in pages of its own
    const int* prefixes;  // positions in pages of its prompt
    const int* pages;     // [slots, table_width]: pages of the prompt, then its own from `own_at` on
    int table_width;
    int own_at;
};

__device__ __forceinline__ bf16* keys_of(bf16* layer, int page, int head, int key_heads) {
    return layer + ((long)page * key_heads + head) * 2 * HALF_PAGE;
}

// Stores one position's key and value of one head; one warp.
__device__ __forceinline__ void store_position(bf16* keys, int at, const bf16* key, const bf16* value) {
    bf16* values = keys + HALF_PAGE;
    for (int i = threadIdx.x & 31; i < CACHE_DIM; i += 32) {
        keys[at * CACHE_DIM + i] = i < HEAD_DIM ? key[i] : 0;
        values[((at / 2) * CACHE_DIM + i) * 2 + (at & 1)] = i < HEAD_DIM ? value[i] : 0;
    }
}

// Fills pages from the queries, keys and values of whole prompts. page_of and place_of say where each
// row goes. One warp a row and key head.
extern "C" __global__ void store_prompt(bf16* layer, const bf16* qkv, const int* page_of, const int* place_of,
                                        int rows, int heads, int key_heads) {
    int item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (item >= rows * key_heads) return;
    int row = item / key_heads, head = item % key_heads;
    const bf16* key = qkv + ((long)row * (heads + 2 * key_heads) + heads + head) * HEAD_DIM;
    store_position(keys_of(layer, page_of[row], head, key_heads), place_of[row], key, key + key_heads * HEAD_DIM);
}

// Rotates the queries and keys of one position a slot and stores key and value. One warp a head.
extern "C" __global__ void rotate_and_store(bf16* layer, bf16* qkv, Slots slots, const float2* table, int rows,
                                            int heads, int key_heads) {
    int item = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int slot = item / (heads + key_heads), head = item % (heads + key_heads), lane = threadIdx.x & 31;
    if (slot >= rows || slots.tokens[slot] < 0) return;
    bf16* vector = qkv + ((long)slot * (heads + 2 * key_heads) + head) * HEAD_DIM;
    int length = slots.lengths[slot];
    const float2* turn = table + (long)(slots.prefixes[slot] + length) * (HEAD_DIM / 2);
    for (int i = lane * 2; i < HEAD_DIM / 2; i += 64) {
        u32* first = reinterpret_cast<u32*>(vector + i);
        u32* second = reinterpret_cast<u32*>(vector + i + HEAD_DIM / 2);
        float2 a = turn[i], b = turn[i + 1];
        float x0 = low(*first), x1 = high(*first), y0 = low(*second), y1 = high(*second);
        *first = pack(x0 * a.x - y0 * a.y, x1 * b.x - y1 * b.y);
        *second = pack(y0 * a.x + x0 * a.y, y1 * b.x + x1 * b.y);
    }
    if (head < heads) return;
    __syncwarp();
    int page = slots.pages[(long)slot * slots.table_width + slots.own_at + length / PAGE];
    store_position(keys_of(layer, page, head - heads, key_heads), length % PAGE, vector, vector + key_heads * HEAD_DIM);
}

#define DECODE_WARPS 4
#define TILE 16
#define WORDS (CACHE_DIM / 32)
// The matrix instruction has 16 rows. A group of at most 8 query heads fills the first half of them; the
// second half's registers are left out then.
#define HALVES (GROUP > 8 ? 2 : 1)

// c += a b, of the rows that are used.
__device__ __forceinline__ void multiply_rows(float (&c)[2 * HALVES], const u32* a, u32 b0, u32 b1) {
#if GROUP > 8
    matrix_multiply(c, a, b0, b1);
#else
    float unused[2];
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%10,%10};"
        : "+f"(c[0]), "+f"(c[1]), "=f"(unused[0]), "=f"(unused[1])
        : "r"(a[0]), "r"(0), "r"(a[2]), "r"(0), "r"(b0), "r"(b1), "f"(0.0f));
#endif
}

// Where a tile of positions lies: first and end among its part's positions, keys and values.
struct CacheTile { int first, end; const bf16* keys; const bf16* values; };

__device__ __forceinline__ CacheTile locate(bf16* layer, const Slots& slots, int slot, int tile, int before, int prefix,
                                            int own, int key_head, int key_heads) {
    bool shared_part = tile < before;
    CacheTile found;
    found.first = (shared_part ? tile : tile - before) * TILE;
    found.end = shared_part ? prefix : own;
    int page = slots.pages[(long)slot * slots.table_width + (shared_part ? 0 : slots.own_at) + found.first / PAGE];
    found.keys = keys_of(layer, page, key_head, key_heads) + found.first % PAGE * CACHE_DIM;
    found.values = found.keys + HALF_PAGE;
    return found;
}

// Attention of one new position a slot over its prompt and itself. A block: one slot and key head, all
// query heads of its group as the rows of the matrix instruction; its warps take turns at tiles of 16
// positions and merge at the end. Lanes load 16 bytes of neighbouring components, which changes the
// order in which components are summed, and nothing else. The next tile's keys are on their way while
// this one's values are used.
extern "C" __global__ void __launch_bounds__(32 * DECODE_WARPS, 4)
attend_cache(bf16* layer, const bf16* qkv, bf16* out, Slots slots, int heads, int key_heads, float scale) {
    __shared__ float max_of[DECODE_WARPS][16], total_of[DECODE_WARPS][16];
    __shared__ float sum_of[GROUP][CACHE_DIM];
    int slot = blockIdx.x, key_head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    if (slots.tokens[slot] < 0) return;
    int g = lane >> 2, c = lane & 3;
    const bf16* query = qkv + ((long)slot * (heads + 2 * key_heads) + key_head * GROUP) * HEAD_DIM;
    uint4 left[WORDS][HALVES];
    #pragma unroll
    for (int word = 0; word < WORDS; word++) {
        #pragma unroll
        for (int half = 0; half < HALVES; half++) {
            int row = g + 8 * half, column = word * 32 + c * 8;
            bool valid = row < GROUP && column < HEAD_DIM;
            left[word][half] = valid ? *reinterpret_cast<const uint4*>(query + row * HEAD_DIM + column)
                                     : make_uint4(0, 0, 0, 0);
        }
    }
    int prefix = slots.prefixes[slot], own = slots.lengths[slot] + 1;
    int before = (prefix + TILE - 1) / TILE, tiles = before + (own + TILE - 1) / TILE;
    float sums[CACHE_DIM / 8][2 * HALVES] = {};
    float max[HALVES], total[HALVES];
    #pragma unroll
    for (int half = 0; half < HALVES; half++) max[half] = NEGATIVE_INFINITY, total[half] = 0.0f;
    float factor = scale * LOG2_E;
    uint4 key[2][WORDS], value[2][WORDS];
    CacheTile at = {};
    auto load_keys = [&](int tile) {
        at = locate(layer, slots, slot, tile, before, prefix, own, key_head, key_heads);
        #pragma unroll
        for (int part = 0; part < 2; part++)
            #pragma unroll
            for (int word = 0; word < WORDS; word++)
                key[part][word] = *reinterpret_cast<const uint4*>(at.keys + (part * 8 + g) * CACHE_DIM + word * 32 + c * 8);
    };
    if (warp < tiles) load_keys(warp);
    for (int tile = warp; tile < tiles; tile += DECODE_WARPS) {
        CacheTile here = at;
        #pragma unroll
        for (int part = 0; part < 2; part++)
            #pragma unroll
            for (int word = 0; word < WORDS; word++)
                value[part][word] =
                    *reinterpret_cast<const uint4*>(here.values + ((part * 4 + c) * CACHE_DIM + word * 32 + g * 4) * 2);
        float scores[2][2 * HALVES] = {};
        #pragma unroll
        for (int word = 0; word < WORDS; word++) {
            u32 a[4] = {left[word][0].x, left[word][HALVES - 1].x, left[word][0].y, left[word][HALVES - 1].y};
            u32 b[4] = {left[word][0].z, left[word][HALVES - 1].z, left[word][0].w, left[word][HALVES - 1].w};
            #pragma unroll
            for (int part = 0; part < 2; part++) {
                multiply_rows(scores[part], a, key[part][word].x, key[part][word].y);
                multiply_rows(scores[part], b, key[part][word].z, key[part][word].w);
            }
        }
        if (tile + DECODE_WARPS < tiles) load_keys(tile + DECODE_WARPS);
        #pragma unroll
        for (int half = 0; half < HALVES; half++) {
            float top = max[half];
            #pragma unroll
            for (int part = 0; part < 2; part++) {
                #pragma unroll
                for (int k = 0; k < 2; k++) {
                    bool seen = here.first + part * 8 + c * 2 + k < here.end;
                    float score = seen ? scores[part][2 * half + k] * factor : NEGATIVE_INFINITY;
                    scores[part][2 * half + k] = score;
                    top = fmaxf(top, score);
                }
            }
            top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 1));
            top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 2));
            float shrink = power_of_two(max[half] - top);
            max[half] = top;
            total[half] *= shrink;
            #pragma unroll
            for (int column = 0; column < CACHE_DIM / 8; column++) {
                sums[column][2 * half] *= shrink;
                sums[column][2 * half + 1] *= shrink;
            }
            #pragma unroll
            for (int part = 0; part < 2; part++) {
                #pragma unroll
                for (int k = 2 * half; k < 2 * half + 2; k++) {
                    scores[part][k] = power_of_two(scores[part][k] - top);
                    total[half] += scores[part][k];
                }
            }
        }
        u32 weights[4] = {pack(scores[0][0], scores[0][1]), 0, pack(scores[1][0], scores[1][1]), 0};
        if (HALVES == 2) {
            weights[1] = pack(scores[0][2 * HALVES - 2], scores[0][2 * HALVES - 1]);
            weights[3] = pack(scores[1][2 * HALVES - 2], scores[1][2 * HALVES - 1]);
        }
        // What lies behind the end may never have been written: no weight times not-a-number is that.
        #pragma unroll
        for (int part = 0; part < 2; part++) {
            int position = here.first + part * 8 + c * 2;
            u32 mask = position + 1 < here.end ? 0xffffffffu : position < here.end ? 0x0000ffffu : 0u;
            #pragma unroll
            for (int word = 0; word < WORDS; word++) {
                value[part][word].x &= mask, value[part][word].y &= mask;
                value[part][word].z &= mask, value[part][word].w &= mask;
            }
        }
        #pragma unroll
        for (int word = 0; word < WORDS; word++) {
            multiply_rows(sums[4 * word + 0], weights, value[0][word].x, value[1][word].x);
            multiply_rows(sums[4 * word + 1], weights, value[0][word].y, value[1][word].y);
            multiply_rows(sums[4 * word + 2], weights, value[0][word].z, value[1][word].z);
            multiply_rows(sums[4 * word + 3], weights, value[0][word].w, value[1][word].w);
        }
    }
    #pragma unroll
    for (int half = 0; half < HALVES; half++) {
        total[half] += __shfl_xor_sync(FULL_WARP, total[half], 1);
        total[half] += __shfl_xor_sync(FULL_WARP, total[half], 2);
        if (c == 0) max_of[warp][g + 8 * half] = max[half], total_of[warp][g + 8 * half] = total[half];
    }
    for (int i = threadIdx.x; i < GROUP * CACHE_DIM; i += blockDim.x) (&sum_of[0][0])[i] = 0.0f;
    __syncthreads();
    // One warp after the other adds its part, so that the order of the sum is always the same.
    for (int turn = 0; turn < DECODE_WARPS; turn++) {
        if (warp == turn) {
            #pragma unroll
            for (int half = 0; half < HALVES; half++) {
                int row = g + 8 * half;
                if (row >= GROUP) continue;
                float largest = NEGATIVE_INFINITY, sum = 0.0f;
                for (int w = 0; w < DECODE_WARPS; w++) largest = fmaxf(largest, max_of[w][row]);
                for (int w = 0; w < DECODE_WARPS; w++) sum += total_of[w][row] * power_of_two(max_of[w][row] - largest);
                float share = power_of_two(max[half] - largest) / sum;
                #pragma unroll
                for (int column = 0; column < CACHE_DIM / 8; column++) {
                    // Tile 4 word + k holds, in its column n, component 32 word + 4 n + k.
                    int at = column / 4 * 32 + c * 8 + column % 4;
                    sum_of[row][at] += sums[column][2 * half] * share;
                    sum_of[row][at + 4] += sums[column][2 * half + 1] * share;
                }
            }
        }
        __syncthreads();
    }
    bf16* target = out + ((long)slot * heads + key_head * GROUP) * HEAD_DIM;
    for (int i = threadIdx.x; i < GROUP * (HEAD_DIM / 2); i += blockDim.x) {
        int row = i / (HEAD_DIM / 2), at = i % (HEAD_DIM / 2) * 2;
        *reinterpret_cast<u32*>(target + row * HEAD_DIM + at) = pack(sum_of[row][at], sum_of[row][at + 1]);
    }
}
