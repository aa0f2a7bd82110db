// From logits to log-probabilities and back. Rows of logits are `stride` numbers apart.

// Running maximum and sum of exponentials, and of exponentials times logits.
struct SoftmaxSums { float max, sum, weighted; };

__device__ __forceinline__ SoftmaxSums merge(SoftmaxSums a, SoftmaxSums b) {
    float max = fmaxf(a.max, b.max);
    float fa = a.max == NEGATIVE_INFINITY ? 0.0f : power_of_two((a.max - max) * LOG2_E);
    float fb = b.max == NEGATIVE_INFINITY ? 0.0f : power_of_two((b.max - max) * LOG2_E);
    SoftmaxSums merged = {max, a.sum * fa + b.sum * fb, a.weighted * fa + b.weighted * fb};
    return merged;
}

__device__ __forceinline__ SoftmaxSums warp_merge(SoftmaxSums sums) {
    for (int offset = 16; offset > 0; offset >>= 1) {
        SoftmaxSums other = {__shfl_xor_sync(FULL_WARP, sums.max, offset),
                             __shfl_xor_sync(FULL_WARP, sums.sum, offset),
                             __shfl_xor_sync(FULL_WARP, sums.weighted, offset)};
        sums = merge(sums, other);
    }
    return sums;
}

__device__ SoftmaxSums block_merge(SoftmaxSums sums) {
    __shared__ SoftmaxSums parts[32];
    sums = warp_merge(sums);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = sums;
    __syncthreads();
    sums = parts[0];
    for (int warp = 1; warp < (int)(blockDim.x + 31) / 32; warp++) sums = merge(sums, parts[warp]);
    return sums;
}

// Gives `see` every blockDim.x-th group of four logits of a row, with the place of the first. Four groups
// are on their way at a time: one after the other, a row would take as many times the latency of memory.
#define GROUPS_AHEAD 4
template <typename See>
__device__ __forceinline__ void each_group(const float* row, int vocabulary, See see) {
    int step = blockDim.x * 4;
    for (int start = threadIdx.x * 4; start < vocabulary; start += GROUPS_AHEAD * step) {
        float4 groups[GROUPS_AHEAD];
        #pragma unroll
        for (int ahead = 0; ahead < GROUPS_AHEAD; ahead++) {
            int i = start + ahead * step;
            if (i < vocabulary) groups[ahead] = *reinterpret_cast<const float4*>(row + i);
        }
        #pragma unroll
        for (int ahead = 0; ahead < GROUPS_AHEAD; ahead++) {
            int i = start + ahead * step;
            float values[4] = {groups[ahead].x, groups[ahead].y, groups[ahead].z, groups[ahead].w};
            if (i < vocabulary) see(i, values);
        }
    }
}

// What a thread sees of a row, divided by a temperature.
__device__ __forceinline__ SoftmaxSums thread_sums(const float* row, int vocabulary, float inverse) {
    SoftmaxSums sums = {NEGATIVE_INFINITY, 0.0f, 0.0f};
    each_group(row, vocabulary, [&](int i, float* values) {
        #pragma unroll
        for (int k = 0; k < 4; k++) values[k] = i + k < vocabulary ? values[k] * inverse : NEGATIVE_INFINITY;
        float max = fmaxf(fmaxf(values[0], values[1]), fmaxf(values[2], values[3]));
        if (max > sums.max) {
            float factor = power_of_two((sums.max - max) * LOG2_E);
            sums.sum *= factor, sums.weighted *= factor, sums.max = max;
        }
        #pragma unroll
        for (int k = 0; k < 4; k++) {
            if (i + k < vocabulary) {
                float weight = power_of_two((values[k] - sums.max) * LOG2_E);
                sums.sum += weight, sums.weighted += weight * values[k];
            }
        }
    });
    return sums;
}

// statistics[row] = (log-probability of the target, entropy in nats); log_sum_exp[row] is kept.
extern "C" __global__ void predict(const float* logits, const int* targets, float2* statistics,
                                   float* log_sum_exp, int vocabulary, int stride) {
    const float* row = logits + (long)blockIdx.x * stride;
    SoftmaxSums sums = block_merge(thread_sums(row, vocabulary, 1.0f));
    if (threadIdx.x == 0) {
        float total = sums.max + logf(sums.sum);
        statistics[blockIdx.x] = make_float2(row[targets[blockIdx.x]] - total, total - sums.weighted / sums.sum);
        log_sum_exp[blockIdx.x] = total;
    }
}

// gradient = weight * (one-hot(target) - probabilities), in bf16; columns past the vocabulary are zero.
extern "C" __global__ void loss_gradient(const float* logits, const int* targets, const float* log_sum_exp,
                                         const float* weights, bf16* gradient, int vocabulary, int stride) {
    const float* row = logits + (long)blockIdx.x * stride;
    bf16* out = gradient + (long)blockIdx.x * stride;
    int target = targets[blockIdx.x];
    float total = log_sum_exp[blockIdx.x], weight = weights[blockIdx.x];
    for (int i = threadIdx.x * 8; i < stride; i += blockDim.x * 8) {
        float4 a = *reinterpret_cast<const float4*>(row + i), b = *reinterpret_cast<const float4*>(row + i + 4);
        float values[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
        #pragma unroll
        for (int k = 0; k < 8; k++) {
            float probability = power_of_two((values[k] - total) * LOG2_E);
            float one = i + k == target ? 1.0f : 0.0f;
            values[k] = i + k < vocabulary ? weight * (one - probability) : 0.0f;
        }
        store8(out + i, values);
    }
}
