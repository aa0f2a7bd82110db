// RMSNorm (Zhang and Sennrich, 2019).

// out = in * weight / rms(in); scale[t] = 1 / rms. One block a row of `width` numbers.
extern "C" __global__ void rms_norm(const bf16* in, const bf16* weight, bf16* out, float* scale, int width,
                                    float epsilon) {
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
