// llama.cpp's tokens of texts, which come on the standard input with a zero between them: without and
// with what it adds to a text. Built by tokens.sh.
#include "llama.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

int main(int argc, char ** argv) {
    if (argc != 2) return 2;
    llama_log_set([](ggml_log_level, const char *, void *) {}, nullptr);
    llama_model_params params = llama_model_default_params();
    params.vocab_only = true;
    llama_model * model = llama_model_load_from_file(argv[1], params);
    if (!model) return 1;
    const llama_vocab * vocab = llama_model_get_vocab(model);
    const std::string all((std::istreambuf_iterator<char>(std::cin)), {});
    for (size_t at = 0; at < all.size();) {
        const size_t end = std::min(all.find('\0', at), all.size());
        for (const bool adds : {false, true}) {
            std::vector<llama_token> tokens(end - at + 8);
            const int count =
                llama_tokenize(vocab, all.data() + at, end - at, tokens.data(), tokens.size(), adds, true);
            printf("%s", adds ? "|" : "");
            for (int i = 0; i < count; i++) printf("%d ", tokens[i]);
        }
        printf("\n");
        at = end + 1;
    }
}
