#pragma once
// The tasks of task.cpp's table, each defined in the file of its name.

#include "compress/task/task.h"  // Task

namespace compression {

const Task& classification_task();
const Task& multi_label_task();
const Task& regression_task();
const Task& embedding_task();
const Task& token_classification_task();
const Task& question_answering_task();
const Task& masked_lm_task();

}  // namespace compression
