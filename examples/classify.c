/* What a model says of texts, in C, without LibTorch and without Python: a line a text with what was found in it.
 *   classify FOLDER TEXT...
 * Built apart from compress:
 *   cc classify.c -I/opt/compress/include/compress -L/opt/compress/lib -Wl,-rpath,/opt/compress/lib -lcompress_runtime -o classify */
#include <compress.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(const char* what) {
  fprintf(stderr, "classify: %s: %s\n", what, compress_error());
  return 1;
}

static void print(const compress_results* results, size_t text) {
  const size_t spans = compress_span_count(results, text);
  size_t count, i;
  const float* values = compress_values(results, text, &count);
  for (i = 0; i < spans; ++i) {
    const compress_span* span = compress_span_at(results, text, i);
    printf("%s%s", i == 0 ? "" : "  ", span->label);
    if (span->begin >= 0) printf("%s%s [%ld, %ld)", span->label[0] ? " " : "", span->text, (long)span->start, (long)span->stop);
    printf("\t%.4f", span->score);
  }
  if (spans == 0 && count > 0) printf("%zu numbers, the first %.4f", count, values[0]);
  printf("\n");
}

int main(int argc, char** argv) {
  compress_model* model = NULL;
  compress_results* results = NULL;
  compress_options options = {0};
  const size_t count = argc < 3 ? 0 : (size_t)argc - 2;
  compress_text* texts;
  size_t i;
  if (count == 0) {
    fprintf(stderr, "usage: classify FOLDER TEXT...\n");
    return 2;
  }
  options.size = sizeof(options);
  if (compress_load(argv[1], &options, &model) != COMPRESS_OK) return failed("the model can't be opened");
  texts = calloc(count, sizeof(*texts));
  if (texts == NULL) return 1;
  for (i = 0; i < count; ++i) {
    texts[i].text = argv[i + 2];
    texts[i].bytes = strlen(argv[i + 2]);
  }
  if (compress_run(model, texts, count, &results) != COMPRESS_OK) return failed("the texts can't be computed");
  for (i = 0; i < count; ++i) print(results, i);
  compress_free_results(results);
  compress_free(model);
  free(texts);
  return 0;
}
