// Products of few rows with a matrix: what decoding a few sequences is made of. They take as long as the
// matrix takes to read, so all that counts is how many of its bytes are on their way at any time.

#define SKINNY_ROWS 64     // rows of x, at most
#define SKINNY_DEPTH 64    // numbers of a row in a stage
#define SKINNY_STAGES 4
#define SKINNY_WEIGHTS 128 // rows of the matrix in a block
#define SKINNY_THREADS 128

struct SkinnyStage {
    bf16 weights[SKINNY_WEIGHTS * SKINNY_DEPTH];
    bf16 x[SKINNY_ROWS * SKINNY_DEPTH];
};

// Where eight numbers of a row of a stage lie: turned by the row, so that a matrix load meets every bank once.
__device__ __forceinline__ int skinny_place(int row, int eight) { return row * SKINNY_DEPTH + (eight ^ (row & 7)) * 8; }

// out[row, f] = silu(x w[f]) x w[width + f]: a feed-forward layer's first half. A block has 64 features; a
// warp 16 of the gate's and the 16 of the matrix's other half that belong to them.
extern "C" __global__ void __launch_bounds__(SKINNY_THREADS)
gate_up_swiglu(const bf16* x, const bf16* weight, bf16* out, int rows, int depth, int width) {
    extern __shared__ __align__(128) unsigned char skinny_memory[];
    SkinnyStage* stages = reinterpret_cast<SkinnyStage*>(skinny_memory);
    const int half = SKINNY_WEIGHTS / 2;
    int first = blockIdx.x * half, warp = threadIdx.x / 32, lane = threadIdx.x & 31;
    auto load_weights = [&](int chunk) {
        SkinnyStage& stage = stages[chunk % SKINNY_STAGES];
        int from = chunk * SKINNY_DEPTH;
        #pragma unroll
        for (int i = 0; i < SKINNY_WEIGHTS * 8 / SKINNY_THREADS; i++) {
            int item = threadIdx.x + i * SKINNY_THREADS, row = item / 8, eight = item % 8;
            int feature = first + (row < half ? row : row - half + width);
            copy_async(stage.weights + skinny_place(row, eight), weight + (long)feature * depth + from + eight * 8, true);
        }
    };
    auto load_x = [&](int chunk) {
        SkinnyStage& stage = stages[chunk % SKINNY_STAGES];
        int from = chunk * SKINNY_DEPTH;
        #pragma unroll
        for (int i = 0; i < SKINNY_ROWS * 8 / SKINNY_THREADS; i++) {
            int item = threadIdx.x + i * SKINNY_THREADS, row = item / 8, eight = item % 8;
            bool valid = row < rows;
            copy_async(stage.x + skinny_place(row, eight), x + (long)(valid ? row : 0) * depth + from + eight * 8, valid);
        }
    };
    int chunks = depth / SKINNY_DEPTH;
    #pragma unroll
    for (int chunk = 0; chunk < SKINNY_STAGES - 1; chunk++)
        if (chunk < chunks) load_weights(chunk);
    // Weights do not depend on the kernels before: they are on their way already.
    take_over();
    #pragma unroll
    for (int chunk = 0; chunk < SKINNY_STAGES - 1; chunk++) {
        if (chunk < chunks) load_x(chunk);
        commit_copies();
    }
    float gate[SKINNY_ROWS / 8][4] = {}, up[SKINNY_ROWS / 8][4] = {};
    for (int chunk = 0; chunk < chunks; chunk++) {
        wait_for_copies<SKINNY_STAGES - 2>();
        __syncthreads();
        int ahead = chunk + SKINNY_STAGES - 1;
        if (ahead < chunks) load_weights(ahead), load_x(ahead);
        commit_copies();
        const SkinnyStage& stage = stages[chunk % SKINNY_STAGES];
        #pragma unroll
        for (int step = 0; step < SKINNY_DEPTH / 16; step++) {
            u32 a[4], b[4];
            int row = warp * 16 + (lane & 15), eight = step * 2 + (lane >> 4);
            load_matrices(a, stage.weights + skinny_place(row, eight));
            load_matrices(b, stage.weights + skinny_place(half + row, eight));
            #pragma unroll
            for (int pair = 0; pair < SKINNY_ROWS / 16; pair++) {
                u32 right[4];
                int of = pair * 16 + (lane >> 4) * 8 + (lane & 7);
                load_matrices(right, stage.x + skinny_place(of, step * 2 + ((lane >> 3) & 1)));
                matrix_multiply(gate[2 * pair], a, right[0], right[1]);
                matrix_multiply(gate[2 * pair + 1], a, right[2], right[3]);
                matrix_multiply(up[2 * pair], b, right[0], right[1]);
                matrix_multiply(up[2 * pair + 1], b, right[2], right[3]);
            }
        }
    }
    wait_for_copies<0>();
    __syncthreads();
    // Through shared memory, so that features of a row are written side by side.
    const int stride = half + 8;
    bf16* staged = reinterpret_cast<bf16*>(skinny_memory);
    #pragma unroll
    for (int tile = 0; tile < SKINNY_ROWS / 8; tile++) {
        #pragma unroll
        for (int k = 0; k < 4; k++) {
            int row = tile * 8 + (lane & 3) * 2 + (k & 1), feature = warp * 16 + (lane >> 2) + (k >> 1) * 8;
            staged[row * stride + feature] = to_bf16(gate[tile][k] * sigmoid(gate[tile][k]) * up[tile][k]);
        }
    }
    __syncthreads();
    for (int item = threadIdx.x; item < rows * 8; item += SKINNY_THREADS) {
        int row = item / 8, eight = item % 8;
        *reinterpret_cast<uint4*>(out + (long)row * width + first + eight * 8) =
            *reinterpret_cast<const uint4*>(staged + row * stride + eight * 8);
    }
}
