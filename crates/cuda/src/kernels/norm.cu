// RMSNorm (Zhang and Sennrich, 2019), of whole rows and of heads.

// out = in * weight / rms(in); scale[t] = 1 / rms. One block a row of `width` numbers.
extern "C" __global__ void rms_norm(const bf16* in, const bf16* weight, bf16* out, float* scale, int width,
                                    float epsilon) {
    take_over();
    const bf16* row = in + (long)blockIdx.x * width;
    float sum = 0.0f;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
        float value[8];
        load8(row + i, value);
        for (int k = 0; k < 8; k++) sum += value[k] * value[k];
    }
    float factor = rsqrtf(block_sum(sum) / width + epsilon);
    if (threadIdx.x == 0) scale[blockIdx.x] = factor;
    for (int i = threadIdx.x * 8; i < width; i += blockDim.x * 8) {
        float value[8], gain[8];
        load8(row + i, value);
        load8(weight + i, gain);
        for (int k = 0; k < 8; k++) value[k] *= factor * gain[k];
        store8(out + (long)blockIdx.x * width + i, value);
    }
}

// in_gradient += the gradient by the input; partial[block] = that by the weight over the block's rows:
// [gridDim.x, width]. Each block takes every gridDim.x-th row. A thread holds up to 8 x MAX columns.
#define MAX 8
extern "C" __global__ void rms_norm_backward(const bf16* out_gradient, const bf16* in, const bf16* weight,
                                             const float* scale, bf16* in_gradient, float* partial, int rows,
                                             int width, int overwrite) {
    float sums[MAX][8];
    for (int m = 0; m < MAX; m++)
        for (int k = 0; k < 8; k++) sums[m][k] = 0.0f;
    for (long row = blockIdx.x; row < rows; row += gridDim.x) {
        float factor = scale[row], dot = 0.0f;
        #pragma unroll
        for (int m = 0; m < MAX; m++) {
            int i = (m * blockDim.x + threadIdx.x) * 8;
            if (i < width) {
                float slope[8], value[8], gain[8];
                load8(out_gradient + row * width + i, slope);
                load8(in + row * width + i, value);
                load8(weight + i, gain);
                for (int k = 0; k < 8; k++) {
                    sums[m][k] += slope[k] * value[k] * factor;
                    dot += slope[k] * gain[k] * value[k];
                }
            }
        }
        dot = block_sum(dot) * factor * factor * factor / width;
        #pragma unroll
        for (int m = 0; m < MAX; m++) {
            int i = (m * blockDim.x + threadIdx.x) * 8;
            if (i < width) {
                float slope[8], value[8], gain[8], target[8];
                load8(out_gradient + row * width + i, slope);
                load8(in + row * width + i, value);
                load8(weight + i, gain);
                load8(in_gradient + row * width + i, target);
                for (int k = 0; k < 8; k++) {
                    float gradient = slope[k] * gain[k] * factor - value[k] * dot;
                    target[k] = overwrite ? gradient : target[k] + gradient;
                }
                store8(in_gradient + row * width + i, target);
            }
        }
    }
    #pragma unroll
    for (int m = 0; m < MAX; m++) {
        int i = (m * blockDim.x + threadIdx.x) * 8;
        if (i < width)
            for (int k = 0; k < 8; k++) partial[(long)blockIdx.x * width + i + k] = sums[m][k];
    }
}

// out = in, each query and key head times its gain over its root mean square; values stay as they are.
// in and out are [rows, (heads + 2 key_heads) HEAD_DIM]; scale[row, head] = 1 / rms. One warp a head.
extern "C" __global__ void head_norms(const bf16* in, const bf16* query_gain, const bf16* key_gain, bf16* out,
                                      float* scale, int rows, int heads, int key_heads, float epsilon) {
    take_over();
    long item = (long)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    int all = heads + 2 * key_heads, lane = threadIdx.x & 31;
    if (item >= (long)rows * all) return;
    long row = item / all;
    int head = item % all;
    const bf16* source = in + item * HEAD_DIM;
    bf16* target = out + item * HEAD_DIM;
    if (head >= heads + key_heads) {
        for (int i = lane * 2; i < HEAD_DIM; i += 64)
            *reinterpret_cast<u32*>(target + i) = *reinterpret_cast<const u32*>(source + i);
        return;
    }
    const bf16* gain = head < heads ? query_gain : key_gain;
    float sum = 0.0f;
    for (int i = lane * 2; i < HEAD_DIM; i += 64) {
        u32 value = *reinterpret_cast<const u32*>(source + i);
        sum += low(value) * low(value) + high(value) * high(value);
    }
    float factor = rsqrtf(warp_sum(sum) / HEAD_DIM + epsilon);
    if (lane == 0) scale[row * (heads + key_heads) + head] = factor;
    for (int i = lane * 2; i < HEAD_DIM; i += 64) {
        u32 value = *reinterpret_cast<const u32*>(source + i), weight = *reinterpret_cast<const u32*>(gain + i);
        *reinterpret_cast<u32*>(target + i) =
            pack(low(value) * factor * low(weight), high(value) * factor * high(weight));
    }
}

#define HEAD_WARPS 4
#define HEAD_STEPS ((HEAD_DIM + 63) / 64)

// `gradient`, that of one head's output, becomes that of its input; adds that of the gain to a lane's sums.
__device__ __forceinline__ void head_norm_backward(bf16* gradient, const bf16* in, const bf16* gain, float factor,
                                                   float (*sums)[2]) {
    int lane = threadIdx.x & 31;
    float weighted[HEAD_STEPS][2], value[HEAD_STEPS][2], dot = 0.0f;
    #pragma unroll
    for (int step = 0; step < HEAD_STEPS; step++) {
        int i = step * 64 + lane * 2;
        if (i < HEAD_DIM) {
            u32 slope = *reinterpret_cast<const u32*>(gradient + i), x = *reinterpret_cast<const u32*>(in + i);
            u32 weight = *reinterpret_cast<const u32*>(gain + i);
            value[step][0] = low(x), value[step][1] = high(x);
            weighted[step][0] = low(slope) * low(weight), weighted[step][1] = high(slope) * high(weight);
            sums[step][0] += low(slope) * value[step][0] * factor;
            sums[step][1] += high(slope) * value[step][1] * factor;
            dot += weighted[step][0] * value[step][0] + weighted[step][1] * value[step][1];
        }
    }
    dot = warp_sum(dot) * factor * factor * factor / HEAD_DIM;
    #pragma unroll
    for (int step = 0; step < HEAD_STEPS; step++) {
        int i = step * 64 + lane * 2;
        if (i < HEAD_DIM)
            *reinterpret_cast<u32*>(gradient + i) = pack(weighted[step][0] * factor - value[step][0] * dot,
                                                         weighted[step][1] * factor - value[step][1] * dot);
    }
}

// `gradient`, that of head_norms' output, becomes that of its input, in place; that of values is the same.
// partial[0..gridDim.x] = the gradients of the queries' gain over each block's rows, then as many of the
// keys': [2 gridDim.x, HEAD_DIM]. Each block takes every gridDim.x-th row, each warp every fourth head.
extern "C" __global__ void __launch_bounds__(32 * HEAD_WARPS)
head_norms_backward(bf16* gradient, const bf16* in, const bf16* query_gain, const bf16* key_gain, const float* scale,
                    float* partial, int rows, int heads, int key_heads) {
    __shared__ float sums_of[HEAD_WARPS][2][HEAD_DIM];
    int warp = threadIdx.x / 32, lane = threadIdx.x & 31, normed = heads + key_heads;
    float query_sums[HEAD_STEPS][2] = {}, key_sums[HEAD_STEPS][2] = {};
    for (long row = blockIdx.x; row < rows; row += gridDim.x) {
        long at = row * (heads + 2 * key_heads) * HEAD_DIM;
        const float* factors = scale + row * normed;
        for (int head = warp; head < heads; head += HEAD_WARPS)
            head_norm_backward(gradient + at + head * HEAD_DIM, in + at + head * HEAD_DIM, query_gain, factors[head],
                               query_sums);
        for (int head = heads + warp; head < normed; head += HEAD_WARPS)
            head_norm_backward(gradient + at + head * HEAD_DIM, in + at + head * HEAD_DIM, key_gain, factors[head],
                               key_sums);
    }
    #pragma unroll
    for (int step = 0; step < HEAD_STEPS; step++) {
        #pragma unroll
        for (int k = 0; k < 2; k++) {
            int i = step * 64 + lane * 2 + k;
            if (i < HEAD_DIM) sums_of[warp][0][i] = query_sums[step][k], sums_of[warp][1][i] = key_sums[step][k];
        }
    }
    __syncthreads();
    // One warp's sums after the other's, so that the order is always the same.
    for (int i = threadIdx.x; i < 2 * HEAD_DIM; i += blockDim.x) {
        int kind = i / HEAD_DIM, column = i % HEAD_DIM;
        float sum = 0.0f;
        for (int w = 0; w < HEAD_WARPS; w++) sum += sums_of[w][kind][column];
        partial[((long)kind * gridDim.x + blockIdx.x) * HEAD_DIM + column] = sum;
    }
}
