/* A compressed model in a C program, or in any language that calls C: text in, what the model says of it out. Linked to
 * libcompress_runtime.so alone (no LibTorch, no Python); examples/classify.c and examples/embed.py use it.
 *
 * Threads: a compress_model never changes. Any number of threads may call compress_run() with one model at once, and
 * each has results of its own; what compress_error() says is the calling thread's. A model or results may be given back
 * by any thread, once nobody uses it. A call computes in as many OpenMP threads as OMP_NUM_THREADS or
 * compress_set_threads() says.
 *
 * Errors: no exception leaves a function. One that can fail returns a compress_status; compress_error() has one line
 * that names file or text, what was found and what was expected.
 *
 * Compatibility: what stands here stays. Structs that a caller makes begin with their size where they may grow, structs
 * that a function returns are read through their pointers, and may grow at their ends; new functions raise
 * COMPRESS_API_VERSION. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define COMPRESS_API_VERSION 1

/* That of the library, which may be later than the header's. */
int compress_api_version(void);

typedef enum compress_status {
  COMPRESS_OK = 0,
  COMPRESS_INVALID = 1,     /* an argument or option */
  COMPRESS_TEXT = 2,        /* a text that the model can't read */
  COMPRESS_MODEL = 3,       /* a folder that is missing, damaged or does not fit */
  COMPRESS_UNSUPPORTED = 4, /* a model that the runtime has no kernels for */
  COMPRESS_SYSTEM = 5,      /* the system refused */
  COMPRESS_MEMORY = 6,      /* no memory */
  COMPRESS_INTERNAL = 7     /* a mistake of the library */
} compress_status;

/* Why the calling thread's last call that failed did; "" before any has. Valid until its next one. */
const char* compress_error(void);

typedef struct compress_model compress_model;
typedef struct compress_results compress_results;

typedef struct compress_options {
  size_t size;           /* sizeof(compress_options) */
  const char* tokenizer; /* a folder in place of the model's; NULL: the model's */
  int64_t max_length;    /* tokens that a text, or a window of a context, is cut to; 0: what the folder says */
  int64_t stride;        /* tokens that windows of a context share; 0: a third */
} compress_options;

/* Opens a stage's folder, or one of Hugging Face's. options: NULL for the defaults. */
compress_status compress_load(const char* folder, const compress_options* options, compress_model** model);
void compress_free(compress_model* model); /* NULL: nothing */

/* "classification", "multi_label", "regression", "embedding", "token_classification", "question_answering",
 * "masked_lm". The texts of a model live as long as it does. */
const char* compress_task(const compress_model* model);
int64_t compress_max_length(const compress_model* model);
size_t compress_class_count(const compress_model* model);
const char* compress_class_name(const compress_model* model, size_t index); /* NULL: no such */
size_t compress_warning_count(const compress_model* model);
const char* compress_warning(const compress_model* model, size_t index); /* what is odd in the folder; NULL: no such */

/* Threads that calls of the calling thread compute in from now on, from 1. */
compress_status compress_set_threads(int count);

/* A text, or a question and its context, or two texts that are read together. UTF-8; need not end with a 0. */
typedef struct compress_text {
  const char* text;
  size_t bytes;
  const char* pair; /* NULL: none */
  size_t pair_bytes;
} compress_text;

/* Computes all texts together. One result a text, in their order. */
compress_status compress_run(const compress_model* model, const compress_text* texts, size_t count,
                             compress_results** results);
void compress_free_results(compress_results* results); /* NULL: nothing */

size_t compress_result_count(const compress_results* results);

/* Numbers of one text: of each class its share, the number of regression, or the vector of embedding; of other tasks
 * none. Valid as long as the results. */
const float* compress_values(const compress_results* results, size_t index, size_t* count);

/* What was found in one text: the classes that it is of, its entities, the answer, the words for its
 * masks (five each, best first). */
typedef struct compress_span {
  const char* label;   /* class or type of the entity; "" for answers and masks */
  const char* text;    /* the entity, the answer, the word for the mask; "" for a class */
  double score;        /* its share */
  int64_t begin, end;  /* bytes of the text, or of the context; -1 for a class */
  int64_t start, stop; /* the same in characters (code points), as Python counts */
} compress_span;

size_t compress_span_count(const compress_results* results, size_t index);
const compress_span* compress_span_at(const compress_results* results, size_t index, size_t span); /* NULL: no such */

/* All that is known of one text, as a line of `compress predict --json`; NULL: no such text. */
const char* compress_json(const compress_results* results, size_t index);

#ifdef __cplusplus
}
#endif
