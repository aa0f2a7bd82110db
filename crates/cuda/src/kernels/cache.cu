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

// One head's vector, turned by its position unless there is no table, to shared memory; one warp.
__device__ __forceinline__ void rotate_head(const bf16* vector, const float2* turn, bf16* target) {
    int lane = threadIdx.x & 31;
    for (int i = lane * 2; i < HEAD_DIM / 2; i += 64) {
        u32 first = *reinterpret_cast<const u32*>(vector + i);
        u32 second = *reinterpret_cast<const u32*>(vector + i + HEAD_DIM / 2);
        if (turn) {
            float2 a = turn[i], b = turn[i + 1];
            float x0 = low(first), x1 = high(first), y0 = low(second), y1 = high(second);
            first = pack(x0 * a.x - y0 * a.y, x1 * b.x - y1 * b.y);
            second = pack(y0 * a.x + x0 * a.y, y1 * b.x + x1 * b.y);
        }
        *reinterpret_cast<u32*>(target + i) = first;
        *reinterpret_cast<u32*>(target + i + HEAD_DIM / 2) = second;
    }
    for (int i = HEAD_DIM + lane; i < CACHE_DIM; i += 32) target[i] = 0;
}

#define DECODE_WARPS 4
#define TILE 16
#define WORDS (CACHE_DIM / 32)
#define HEAD_TILES ((GROUP + 7) / 8)

// Swaps rows and columns of an 8 x 8 matrix of 16-bit numbers that lies in a warp as the matrix
// instruction has it.
__device__ __forceinline__ u32 transpose(u32 pair) {
    u32 out;
    asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
    return out;
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

// Turns the queries and the key of one new position a slot, stores its key and value, and attends over the
// prompt and the sequence itself. A block: one slot and key head; its warps share the heads, then take turns at tiles of 16 positions and merge at the end. Positions are the 16 rows of the matrix
// instruction and the query heads of the group its 8 columns, so that few of them stay unused: scores are
// keys times queries, sums are values times weights. Lanes load 16 bytes of neighbouring components, which
// changes the order in which components are summed, and nothing else. The next tile's keys are on their
// way while this one's values are used.
extern "C" __global__ void __launch_bounds__(32 * DECODE_WARPS, 3)
attend_cache(bf16* layer, const bf16* qkv, bf16* out, Slots slots, const float2* table, int heads, int key_heads,
             float scale) {
    __shared__ __align__(16) bf16 turned[GROUP + 1][CACHE_DIM];
    __shared__ float max_of[DECODE_WARPS][16], total_of[DECODE_WARPS][16];
    __shared__ float sum_of[8 * HEAD_TILES][CACHE_DIM];
    take_over();
    int slot = blockIdx.x, key_head = blockIdx.y, warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    if (slots.tokens[slot] < 0) return;
    int g = lane >> 2, c = lane & 3;
    int prefix = slots.prefixes[slot], length = slots.lengths[slot], own = length + 1;
    const bf16* vectors = qkv + (long)slot * (heads + 2 * key_heads) * HEAD_DIM;
    const float2* turn = table ? table + (long)(prefix + length) * (HEAD_DIM / 2) : 0;
    for (int head = warp; head <= GROUP; head += DECODE_WARPS) {
        bool is_key = head == GROUP;
        const bf16* vector = vectors + (is_key ? heads + key_head : key_head * GROUP + head) * HEAD_DIM;
        rotate_head(vector, turn, turned[head]);
        if (is_key) {
            __syncwarp();
            int page = slots.pages[(long)slot * slots.table_width + slots.own_at + length / PAGE];
            bf16* keys = keys_of(layer, page, key_head, key_heads);
            store_position(keys, length % PAGE, turned[GROUP], vector + key_heads * HEAD_DIM);
        }
    }
    // The whole block sees what its warps wrote, in shared and in global memory.
    __syncthreads();
    uint4 right[HEAD_TILES][WORDS];
    #pragma unroll
    for (int part = 0; part < HEAD_TILES; part++) {
        #pragma unroll
        for (int word = 0; word < WORDS; word++) {
            int head = g + 8 * part, column = word * 32 + c * 8;
            bool valid = head < GROUP && column < HEAD_DIM;
            right[part][word] = valid ? *reinterpret_cast<const uint4*>(&turned[head][column]) : make_uint4(0, 0, 0, 0);
        }
    }
    int before = (prefix + TILE - 1) / TILE, tiles = before + (own + TILE - 1) / TILE;
    // Rows are components, columns heads; a lane has heads 2c and 2c + 1.
    float sums[HEAD_TILES][CACHE_DIM / 16][4] = {};
    float max[HEAD_TILES][2], total[HEAD_TILES][2];
    #pragma unroll
    for (int part = 0; part < HEAD_TILES; part++)
        #pragma unroll
        for (int k = 0; k < 2; k++) max[part][k] = NEGATIVE_INFINITY, total[part][k] = 0.0f;
    float factor = scale * LOG2_E;
    uint4 key[2][WORDS], value[2][WORDS];
    CacheTile at = {};
    auto load_keys = [&](int tile) {
        at = locate(layer, slots, slot, tile, before, prefix, own, key_head, key_heads);
        #pragma unroll
        for (int half = 0; half < 2; half++)
            #pragma unroll
            for (int word = 0; word < WORDS; word++)
                key[half][word] = *reinterpret_cast<const uint4*>(at.keys + (half * 8 + g) * CACHE_DIM + word * 32 + c * 8);
    };
    if (warp < tiles) load_keys(warp);
    for (int tile = warp; tile < tiles; tile += DECODE_WARPS) {
        CacheTile here = at;
        #pragma unroll
        for (int half = 0; half < 2; half++)
            #pragma unroll
            for (int word = 0; word < WORDS; word++)
                value[half][word] =
                    *reinterpret_cast<const uint4*>(here.values + ((half * 4 + c) * CACHE_DIM + word * 32 + g * 4) * 2);
        // Rows are positions, columns heads.
        float scores[HEAD_TILES][4] = {};
        #pragma unroll
        for (int word = 0; word < WORDS; word++) {
            u32 a[4] = {key[0][word].x, key[1][word].x, key[0][word].y, key[1][word].y};
            u32 b[4] = {key[0][word].z, key[1][word].z, key[0][word].w, key[1][word].w};
            #pragma unroll
            for (int part = 0; part < HEAD_TILES; part++) {
                matrix_multiply(scores[part], a, right[part][word].x, right[part][word].y);
                matrix_multiply(scores[part], b, right[part][word].z, right[part][word].w);
            }
        }
        if (tile + DECODE_WARPS < tiles) load_keys(tile + DECODE_WARPS);
        // What lies behind the end may never have been written: no weight times not-a-number is that.
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            int position = here.first + half * 8 + c * 2;
            u32 mask = position + 1 < here.end ? 0xffffffffu : position < here.end ? 0x0000ffffu : 0u;
            #pragma unroll
            for (int word = 0; word < WORDS; word++) {
                value[half][word].x &= mask, value[half][word].y &= mask;
                value[half][word].z &= mask, value[half][word].w &= mask;
            }
        }
        #pragma unroll
        for (int part = 0; part < HEAD_TILES; part++) {
            #pragma unroll
            for (int k = 0; k < 2; k++) {
                bool first_seen = here.first + g < here.end, second_seen = here.first + g + 8 < here.end;
                float first = first_seen ? scores[part][k] * factor : NEGATIVE_INFINITY;
                float second = second_seen ? scores[part][k + 2] * factor : NEGATIVE_INFINITY;
                float top = fmaxf(max[part][k], fmaxf(first, second));
                for (int offset = 4; offset < 32; offset <<= 1) top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, offset));
                float shrink = power_of_two(max[part][k] - top);
                max[part][k] = top;
                first = power_of_two(first - top), second = power_of_two(second - top);
                total[part][k] = total[part][k] * shrink + first + second;
                scores[part][k] = first, scores[part][k + 2] = second;
                #pragma unroll
                for (int row = 0; row < CACHE_DIM / 16; row++) {
                    sums[part][row][k] *= shrink;
                    sums[part][row][k + 2] *= shrink;
                }
            }
            u32 low_weights = transpose(pack(scores[part][0], scores[part][1]));
            u32 high_weights = transpose(pack(scores[part][2], scores[part][3]));
            #pragma unroll
            for (int word = 0; word < WORDS; word++) {
                u32 a[4] = {value[0][word].x, value[0][word].y, value[1][word].x, value[1][word].y};
                u32 b[4] = {value[0][word].z, value[0][word].w, value[1][word].z, value[1][word].w};
                matrix_multiply(sums[part][2 * word], a, low_weights, high_weights);
                matrix_multiply(sums[part][2 * word + 1], b, low_weights, high_weights);
            }
        }
    }
    #pragma unroll
    for (int part = 0; part < HEAD_TILES; part++) {
        #pragma unroll
        for (int k = 0; k < 2; k++) {
            for (int offset = 4; offset < 32; offset <<= 1)
                total[part][k] += __shfl_xor_sync(FULL_WARP, total[part][k], offset);
            int head = 8 * part + 2 * c + k;
            if (g == 0) max_of[warp][head] = max[part][k], total_of[warp][head] = total[part][k];
        }
    }
    for (int i = threadIdx.x; i < 8 * HEAD_TILES * CACHE_DIM; i += blockDim.x) (&sum_of[0][0])[i] = 0.0f;
    __syncthreads();
    // One warp after the other adds its part, so that the order of the sum is always the same.
    for (int turn = 0; turn < DECODE_WARPS; turn++) {
        if (warp == turn) {
            #pragma unroll
            for (int part = 0; part < HEAD_TILES; part++) {
                #pragma unroll
                for (int k = 0; k < 2; k++) {
                    int head = 8 * part + 2 * c + k;
                    float largest = NEGATIVE_INFINITY, sum = 0.0f;
                    for (int w = 0; w < DECODE_WARPS; w++) largest = fmaxf(largest, max_of[w][head]);
                    for (int w = 0; w < DECODE_WARPS; w++)
                        sum += total_of[w][head] * power_of_two(max_of[w][head] - largest);
                    float share = power_of_two(max[part][k] - largest) / sum;
                    #pragma unroll
                    for (int row = 0; row < CACHE_DIM / 16; row++) {
                        // Row r of tile 2 word + h holds component 32 word + 4 (r % 8) + 2 h + r / 8.
                        int component = row / 2 * 32 + g * 4 + row % 2 * 2;
                        sum_of[head][component] += sums[part][row][k] * share;
                        sum_of[head][component + 1] += sums[part][row][k + 2] * share;
                    }
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
