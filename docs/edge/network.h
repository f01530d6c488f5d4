/* An exported .tflite in LiteRT's C API: one face crop in, the numbers of its outputs out. */

#ifndef EXPNET_EDGE_NETWORK_H
#define EXPNET_EDGE_NETWORK_H

#include "litert.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MAX_OUTPUTS 8

typedef struct {
    const char *name; /* "expression", "identity", "pose"; owned by the model */
    size_t length;    /* how many numbers a face */
    float *values;    /* what the last run gave; NULL before */
    LiteRtTensorBuffer buffer;
} Output;

typedef struct {
    size_t size; /* side of the crop, px */
    size_t num_outputs;
    Output outputs[MAX_OUTPUTS];
    LiteRtTensorBuffer image;
    LiteRtCompiledModel compiled;
    LiteRtOptions options;
    LiteRtModel model;
    LiteRtEnvironment environment;
} Network;

/* Loads the file into `network`, which is all zero before. False after one sentence on standard error; close it all
 * the same. */
bool network_open(Network *network, const char *path);

/* Runs the network on size * size RGB pixels, row by row from the top left, and fills outputs[..].values. */
bool network_run(Network *network, const unsigned char *pixels);

/* The output of that name, or NULL. */
const Output *network_output(const Network *network, const char *name);

void network_close(Network *network);

/* One line on standard error: "predict: " and the sentence. */
void complain(const char *format, ...);

#ifdef __cplusplus
}
#endif

#endif
