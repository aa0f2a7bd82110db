// Drawing tokens: temperature, top-k, top-p, and the token's log-probability under the model.

// How a slot's tokens are drawn; a temperature of 0 takes the likeliest. `adjusted` is 0 where logits are drawn
// from as they are, otherwise one more than the row of what follows; there are so many biases.
struct Drawing {
    float temperature, top_p, min_p;
    int top_k;
    u32 seed[2], stream[2];
    int adjusted, biases;
    float repetition, frequency, presence;
};

// A bias for a token; none has two.
struct Bias { int token; float value; };
#define MOST_BIASES 1024

// A token's count is how often the answer has it, and this bit if the prompt has it.
#define IN_PROMPT 0x80000000u

// counts[token] for the tokens of a prompt, and of an answer after it.
extern "C" __global__ void count_tokens(u32* counts, const int* tokens, int prompt, int all) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < prompt) atomicOr(&counts[tokens[i]], IN_PROMPT);
    else if (i < all) atomicAdd(&counts[tokens[i]], 1u);
}

// Logits with biases and penalties, in the order of transformer::adjustments; all threads return their maximum.
__device__ float adjust(const float* row, int vocabulary, const Drawing& how, const u32* counts, const Bias* biases,
                        float* out) {
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) out[i] = row[i];
    __syncthreads();
    for (int i = threadIdx.x; i < how.biases; i += blockDim.x) out[biases[i].token] += biases[i].value;
    __syncthreads();
    float max = NEGATIVE_INFINITY;
    for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) {
        float value = out[i];
        u32 count = counts[i];
        if (count) {
            u32 times = count & ~IN_PROMPT;
            value = value > 0.0f ? value / how.repetition : value * how.repetition;
            value -= how.frequency * times + (times ? how.presence : 0.0f);
            out[i] = value;
        }
        max = fmaxf(max, value);
    }
    return block_max(max);
}

// Philox 4x32-10 (Salmon et al., 2011): random bits that depend on key and counter only.
__device__ u32 philox(u32 key0, u32 key1, u32 c0, u32 c1, u32 c2, u32 c3) {
    for (int round = 0; round < 10; round++) {
        u32 high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        u32 high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ key0, c1 = low1, c2 = high0 ^ c3 ^ key1, c3 = low0;
        key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
    return c0;
}

// Uniform over [0, 1), of 24 bits.
__device__ __forceinline__ float uniform(const Drawing& how, int position, int attempt) {
    u32 bits = philox(how.seed[0], how.seed[1], how.stream[0], how.stream[1], (u32)position, (u32)attempt);
    return (bits >> 8) * (1.0f / 16777216.0f);
}

// The largest logit above which fewer than `count` lie, by three passes over histograms of the logits'
// bits in an order that is theirs: for the top-k. All threads return it.
__device__ float rank_floor(const float* row, int vocabulary, int count) {
    __shared__ int bins[2048];
    __shared__ u32 found;
    __shared__ int left;
    u32 prefix = 0;
    int shift = 21, bits = 11;
    if (threadIdx.x == 0) left = count;
    for (int pass = 0; pass < 3; pass++) {
        for (int i = threadIdx.x; i < 2048; i += blockDim.x) bins[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < vocabulary; i += blockDim.x) {
            u32 raw = __float_as_uint(row[i]);
            u32 ordered = raw & 0x80000000u ? ~raw : raw | 0x80000000u;
            if (pass == 0 || ordered >> (shift + bits) == prefix)
                atomicAdd(&bins[(ordered >> shift) & ((1u << bits) - 1)], 1);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int bin = (1 << bits) - 1;
            while (bin > 0 && bins[bin] < left) left -= bins[bin--];
            found = bin;
        }
        __syncthreads();
        prefix = prefix << bits | found;
        if (pass == 0) shift = 10; else bits = 10, shift = 0;
        __syncthreads();
    }
    u32 raw = prefix & 0x80000000u ? prefix & 0x7fffffffu : ~prefix;
    return __uint_as_float(raw);
}

// A thread's part of the weight of all logits (divided by the temperature, less `max`) within (above,
// infinity] and [floor, infinity].
__device__ __forceinline__ float thread_weight(const float* row, int vocabulary, float inverse, float max, float floor,
                                               float above) {
    float sum = 0.0f;
    each_group(row, vocabulary, [&](int i, float* values) {
        #pragma unroll
        for (int k = 0; k < 4; k++)
            if (i + k < vocabulary && values[k] >= floor && values[k] > above)
                sum += power_of_two((values[k] * inverse - max) * LOG2_E);
    });
    return sum;
}

// The token at which the running sum of weights passes `goal` times their sum; threads' parts are
// gone through one after the other, each in its order. `part` is the thread's sum.
__device__ int walk(const float* row, int vocabulary, float inverse, float max, float floor, float above, float part,
                    float goal, float* mass) {
    __shared__ float parts[1024];
    __shared__ int owner, token;
    __shared__ float rest, whole;
    parts[threadIdx.x] = part;
    __syncthreads();
    if (threadIdx.x < 32) {
        // Each lane sums an equal stretch of the threads, then one lane finds the stretch and in it the thread.
        int stretch = blockDim.x / 32;
        float sum = 0.0f;
        for (int i = 0; i < stretch; i++) sum += parts[threadIdx.x * stretch + i];
        float before = 0.0f, total = 0.0f;
        for (int other = 0; other < 32; other++) {
            float value = __shfl_sync(FULL_WARP, sum, other);
            if (other < threadIdx.x) before += value;
            total += value;
        }
        float target = goal * total;
        u32 reached = __ballot_sync(FULL_WARP, before + sum > target);
        int lane = reached ? __ffs(reached) - 1 : 31;
        // Rounding may leave some over: then the last thread that has any weight.
        u32 any = __ballot_sync(FULL_WARP, sum > 0.0f);
        if (!reached) lane = any ? 31 - __clz(any) : 0;
        if (threadIdx.x == lane) {
            float running = before;
            int last = -1, at = -1;
            for (int i = 0; i < stretch && at < 0; i++) {
                float value = parts[lane * stretch + i];
                if (value > 0.0f) last = i;
                if (value > 0.0f && running + value > target) at = i; else running += value;
            }
            if (at < 0) { at = last < 0 ? 0 : last; running -= parts[lane * stretch + at]; }
            owner = lane * stretch + at;
            rest = target - running;
            whole = total;
        }
    }
    __syncthreads();
    // The owner's logits, loaded by everybody at once and gone through by one.
    int groups = (vocabulary - owner * 4 + blockDim.x * 4 - 1) / (blockDim.x * 4);
    float running = 0.0f, wanted = rest;
    int best = -1;
    for (int start = 0; start < groups; start += blockDim.x / 4) {
        int group = start + threadIdx.x / 4, i = (group * blockDim.x + owner) * 4 + (threadIdx.x & 3);
        float value = group < groups && i < vocabulary ? row[i] : NEGATIVE_INFINITY;
        bool counts = group < groups && i < vocabulary && value >= floor && value > above;
        __syncthreads();
        parts[threadIdx.x] = counts ? power_of_two((value * inverse - max) * LOG2_E) : 0.0f;
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int j = 0; j < (int)blockDim.x && start + j / 4 < groups && running <= wanted; j++) {
                if (parts[j] <= 0.0f) continue;
                best = ((start + j / 4) * blockDim.x + owner) * 4 + (j & 3);
                running += parts[j];
            }
        }
    }
    if (threadIdx.x == 0) token = best;
    __syncthreads();
    *mass = whole;
    return token;
}

// Draws a token for each slot from its row of logits, writes token and log-probability, and moves the
// slot on: its token is the new one, its length grows by `advance`. One block a slot.
extern "C" __global__ void __launch_bounds__(1024)
draw(const float* logits, const int* rows, const Drawing* drawings, int* tokens, int* lengths, int* drawn,
     float* log_probabilities, int vocabulary, int stride, int advance, const int* slots, u32* counts, float* adjusted,
     const Bias* biases) {
    __shared__ int best_index[32];
    take_over();
    int slot = slots ? slots[blockIdx.x] : blockIdx.x;
    if (tokens[slot] < 0 && advance) return;
    const float* model = logits + (long)(rows ? rows[blockIdx.x] : blockIdx.x) * stride;
    Drawing how = drawings[slot];
    int position = lengths[slot] + advance;
    SoftmaxSums plain = block_merge(thread_sums(model, vocabulary, 1.0f));
    // What is drawn from, and its largest.
    const float* row = model;
    float largest = plain.max;
    if (how.adjusted > 0) {
        long at = how.adjusted - 1;
        float* changed = adjusted + at * stride;
        counts += at * vocabulary;
        largest = adjust(model, vocabulary, how, counts, biases + at * MOST_BIASES, changed);
        row = changed;
    }
    int token;
    if (how.temperature <= 0.0f) {
        int index = vocabulary;
        for (int i = threadIdx.x; i < vocabulary; i += blockDim.x)
            if (row[i] == largest) { index = i; break; }
        for (int offset = 16; offset > 0; offset >>= 1) index = min(index, __shfl_xor_sync(FULL_WARP, index, offset));
        __syncthreads();
        if ((threadIdx.x & 31) == 0) best_index[threadIdx.x >> 5] = index;
        __syncthreads();
        token = best_index[0];
        for (int warp = 1; warp < (int)blockDim.x / 32; warp++) token = min(token, best_index[warp]);
        // Logits that are not numbers have no largest; the host sees the log-probability and stops.
        token = min(token, vocabulary - 1);
    } else {
        float inverse = 1.0f / how.temperature, max = largest * inverse;
        float floor = NEGATIVE_INFINITY, above = NEGATIVE_INFINITY;
        if (how.top_k > 0 && how.top_k < vocabulary) floor = rank_floor(row, vocabulary, how.top_k);
        if (how.min_p > 0.0f) floor = fmaxf(floor, largest + how.temperature * logf(how.min_p));
        float part = thread_weight(row, vocabulary, inverse, max, floor, above), mass;
        token = walk(row, vocabulary, inverse, max, floor, above, part, uniform(how, position, 0), &mass);
        if (how.top_p < 1.0f) {
            // A token is in the nucleus if what is likelier than it weighs less than top_p of all; one that
            // is not is drawn again from what is likelier, which holds the whole nucleus.
            float goal = how.top_p * mass;
            for (int attempt = 1; attempt < 64 && token >= 0; attempt++) {
                float likelier = thread_weight(row, vocabulary, inverse, max, floor, row[token]);
                if (block_sum(likelier) < goal) break;
                above = row[token];
                token = walk(row, vocabulary, inverse, max, floor, above, likelier, uniform(how, position, attempt), &mass);
            }
        }
        if (token < 0) token = 0;
    }
    if (threadIdx.x == 0) {
        drawn[blockIdx.x] = token;
        log_probabilities[blockIdx.x] = model[token] - plain.max - logf(plain.sum);
        if (how.adjusted > 0) counts[token]++;
        tokens[slot] = token;
        lengths[slot] = position;
    }
}
