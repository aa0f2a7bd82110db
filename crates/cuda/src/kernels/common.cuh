// What all kernels share: bf16 numbers, sums over a block, matrix instructions.
//
// No header of the CUDA toolkit is included: NVRTC finds none on a machine that has only the driver
// and the libraries. The host defines, for the model at hand:
//   HEAD_DIM   width of an attention head, a multiple of 8, at most 128
//   HEAD_PAD   the same, rounded up to whole matrix instructions (16)
//   CACHE_DIM  the same, rounded up to what the KV cache is read in (32)
//   GROUP      query heads that share a key head, at most 16
//   PAGE       positions in a page of the KV cache, a multiple of 16

typedef unsigned short bf16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define LOG2_E 1.4426950408889634f
#define FULL_WARP 0xffffffffu
#define NEGATIVE_INFINITY __int_as_float(0xff800000)

__device__ __forceinline__ float low(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }
__device__ __forceinline__ float from_bf16(bf16 value) { return __uint_as_float((u32)value << 16); }

// Two numbers, rounded to nearest, ties to even; `first` lies first in memory.
__device__ __forceinline__ u32 pack(float first, float second) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
    return pair;
}

__device__ __forceinline__ bf16 to_bf16(float value) { return (bf16)(pack(value, 0.0f) & 0xffffu); }

// 2 to the power of x, on the special-function unit: within 2 units of the last place.
__device__ __forceinline__ float power_of_two(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}

// Eight numbers at a time: 16 bytes of bf16.
__device__ __forceinline__ void load8(const bf16* source, float* out) {
    uint4 raw = *reinterpret_cast<const uint4*>(source);
    out[0] = low(raw.x); out[1] = high(raw.x);
    out[2] = low(raw.y); out[3] = high(raw.y);
    out[4] = low(raw.z); out[5] = high(raw.z);
    out[6] = low(raw.w); out[7] = high(raw.w);
}

__device__ __forceinline__ void store8(bf16* target, const float* values) {
    uint4 raw;
    raw.x = pack(values[0], values[1]);
    raw.y = pack(values[2], values[3]);
    raw.z = pack(values[4], values[5]);
    raw.w = pack(values[6], values[7]);
    *reinterpret_cast<uint4*>(target) = raw;
}

// Waits for the results of the kernels before, and lets the next one start: on Hopper, kernels that are
// launched to overlap begin while the one before them ends. The host launches so only what calls this
// before it touches memory that a kernel writes; elsewhere it does nothing.
__device__ __forceinline__ void take_over() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ float warp_sum(float value) {
    for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_xor_sync(FULL_WARP, value, offset);
    return value;
}

__device__ __forceinline__ float warp_max(float value) {
    for (int offset = 16; offset > 0; offset >>= 1) value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, offset));
    return value;
}

// The sum over a block, for every thread of it.
__device__ float block_sum(float value) {
    __shared__ float parts[32];
    value = warp_sum(value);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int warp = 0; warp < (int)(blockDim.x + 31) / 32; warp++) sum += parts[warp];
    return sum;
}

__device__ float block_max(float value) {
    __shared__ float parts[32];
    value = warp_max(value);
    __syncthreads();
    if ((threadIdx.x & 31) == 0) parts[threadIdx.x >> 5] = value;
    __syncthreads();
    float max = parts[0];
    for (int warp = 1; warp < (int)(blockDim.x + 31) / 32; warp++) max = fmaxf(max, parts[warp]);
    return max;
}

// c += a b: 16 x 16 times 16 x 8. A lane holds, with g = lane / 4 and c = lane % 4:
//   a[0] row g,     columns 2c, 2c+1     a[2] row g,     columns 2c+8, 2c+9
//   a[1] row g + 8, columns 2c, 2c+1     a[3] row g + 8, columns 2c+8, 2c+9
//   b0 rows 2c, 2c+1 of column g         b1 rows 2c+8, 2c+9 of column g
//   c[0], c[1] row g, columns 2c, 2c+1   c[2], c[3] row g + 8
__device__ __forceinline__ void matrix_multiply(float* c, const u32* a, u32 b0, u32 b1) {
    asm(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ __forceinline__ u32 shared_address(const void* pointer) {
    return (u32)__cvta_generic_to_shared(pointer);
}

__device__ __forceinline__ void load_matrices(u32* out, const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(shared_address(row)));
}

__device__ __forceinline__ void load_matrices_transposed(u32* out, const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3]) : "r"(shared_address(row)));
}

// Copies 16 bytes to shared memory in the background, or writes zeros.
__device__ __forceinline__ void copy_async(bf16* target, const bf16* source, bool valid) {
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(target)), "l"(source), "r"(bytes));
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;"); }

// Waits until at most `PENDING` groups of copies are under way.
template <int PENDING> __device__ __forceinline__ void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" :: "n"(PENDING));
}
