// AdamW (Loshchilov and Hutter, 2019) on f32 masters, with the bf16 weights written along.

// partial[block] = the sum of squares of the block's numbers.
extern "C" __global__ void square_sums(const float* in, float* partial, long count) {
    float sum = 0.0f;
    long step = (long)gridDim.x * blockDim.x;
    for (long i = (long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) sum += in[i] * in[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// One step; the gradient is multiplied by `scale` before, and cleared after.
extern "C" __global__ void adamw(float* master, float* first, float* second, float* gradient, bf16* weight,
                                 long count, float scale, float learning_rate, float beta1, float beta2,
                                 float epsilon, float keep, float first_correction, float second_correction) {
    long step = (long)gridDim.x * blockDim.x * 4;
    for (long i = ((long)blockIdx.x * blockDim.x + threadIdx.x) * 4; i < count; i += step) {
        float4 w = *reinterpret_cast<float4*>(master + i), g = *reinterpret_cast<float4*>(gradient + i);
        float4 m = *reinterpret_cast<float4*>(first + i), v = *reinterpret_cast<float4*>(second + i);
        float* ws = &w.x; float* gs = &g.x; float* ms = &m.x; float* vs = &v.x;
        #pragma unroll
        for (int k = 0; k < 4; k++) {
            float slope = gs[k] * scale;
            ms[k] = beta1 * ms[k] + (1.0f - beta1) * slope;
            vs[k] = beta2 * vs[k] + (1.0f - beta2) * slope * slope;
            ws[k] = ws[k] * keep
                - learning_rate * (ms[k] / first_correction) / (sqrtf(vs[k]) / second_correction + epsilon);
        }
        *reinterpret_cast<float4*>(master + i) = w;
        *reinterpret_cast<float4*>(first + i) = m;
        *reinterpret_cast<float4*>(second + i) = v;
        *reinterpret_cast<float4*>(gradient + i) = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        *reinterpret_cast<uint2*>(weight + i) = make_uint2(pack(w.x, w.y), pack(w.z, w.w));
    }
}

__device__ u32 philox(u32 key0, u32 key1, u32 c0, u32 c1, u32 c2, u32 c3);

// Normal numbers with a standard deviation (Box and Muller, 1958), by key and index only; for models of
// random weights that are too large to be drawn on the host.
extern "C" __global__ void fill_normal(float* out, long count, u32 seed, u32 tensor, float deviation) {
    long i = (long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    u32 a = philox(seed, tensor, (u32)i, (u32)(i >> 32), 0, 0), b = philox(seed, tensor, (u32)i, (u32)(i >> 32), 1, 0);
    float u = ((a >> 8) + 1) * (1.0f / 16777216.0f), v = (b >> 8) * (1.0f / 16777216.0f);
    out[i] = deviation * sqrtf(-2.0f * logf(u)) * cospif(2.0f * v);
}
