/* Reads the expression of face crops with an exported .tflite, without Python.
 *
 *     predict MODEL.tflite CROP.ppm...
 *
 * A crop is a binary PPM (P6, 8 bits) as large as the model's input: the square around a face, cut out as docs/edge.md
 * says. Each gives one line of JSON: the file, every output of the model by its name ("expression": 29 numbers in
 * sigma units), and the 52 blendshape weights.
 *
 * Exit code 0: fine; 1: the model or a crop failed, with one sentence (the other crops are done); 2: wrong usage.
 */

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "blendshapes.h" /* written by blendshapes.py */
#include "network.h"

/* The next number of a PPM header, or -1. White space and comments (# to the end of the line) may precede it; of what
 * follows one character is read, as the format says. */
static long header_number(FILE *file) {
    long value = -1;
    int c;
    do {
        c = fgetc(file);
        if (c == '#')
            while (c != '\n' && c != EOF)
                c = fgetc(file);
    } while (isspace(c));
    for (; isdigit(c) && value < 100000; c = fgetc(file))
        value = (value < 0 ? 0 : value) * 10 + (c - '0');
    return isspace(c) ? value : -1;
}

/* The pixels of a crop of size x size px, to be freed; NULL after one sentence. */
static unsigned char *read_ppm(const char *path, size_t size) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        complain("%s: cannot be read: %s.", path, strerror(errno));
        return NULL;
    }
    const bool magic = fgetc(file) == 'P' && fgetc(file) == '6';
    const long width = magic ? header_number(file) : -1;
    const long height = width < 0 ? -1 : header_number(file);
    const long maximum = height < 0 ? -1 : header_number(file);
    const size_t count = size * size * 3;
    unsigned char *pixels = malloc(count);
    bool good = false;
    if (maximum != 255)
        complain("%s: is not a binary PPM (P6) with 8 bits a channel.", path);
    else if (width != (long)size || height != (long)size)
        complain("%s: is %ldx%ld px; the model takes crops of %zux%zu px.", path, width, height, size, size);
    else if (pixels == NULL)
        complain("%s: no memory for its pixels.", path);
    else if (fread(pixels, 1, count, file) != count)
        complain("%s: ends before its last pixel.", path);
    else
        good = true;
    fclose(file);
    if (!good) {
        free(pixels);
        pixels = NULL;
    }
    return pixels;
}

static double blendshape(const float *expression, size_t which) {
    double weight = 0.0;
    for (size_t e = 0; e < EXPRESSIONS; e++)
        weight += (double)expression[e] * expression_to_blendshapes[e][which];
    return weight < 0.0 ? 0.0 : weight > 1.0 ? 1.0 : weight;
}

static void print_string(const char *text) {
    putchar('"');
    for (; *text != '\0'; text++)
        if (*text == '"' || *text == '\\' || (unsigned char)*text < 0x20)
            printf("\\u%04x", *text);
        else
            putchar(*text);
    putchar('"');
}

/* Nine digits are enough for a float32 to be read back as the same number. */
static void print_result(const char *path, const Network *network) {
    printf("{\"file\": ");
    print_string(path);
    for (size_t i = 0; i < network->num_outputs; i++) {
        const Output *output = &network->outputs[i];
        printf(", \"%s\": [", output->name);
        for (size_t k = 0; k < output->length; k++)
            printf("%s%.9g", k > 0 ? ", " : "", (double)output->values[k]);
        printf("]");
    }
    printf(", \"blendshapes\": {");
    const float *expression = network_output(network, "expression")->values;
    for (size_t b = 0; b < BLENDSHAPES; b++)
        printf("%s\"%s\": %.9g", b > 0 ? ", " : "", blendshape_names[b], blendshape(expression, b));
    puts("}}");
}

static bool predict(Network *network, const char *path) {
    unsigned char *pixels = read_ppm(path, network->size);
    const bool good = pixels != NULL && network_run(network, pixels);
    free(pixels);
    if (good)
        print_result(path, network);
    return good;
}

static bool reads_expressions(const Network *network, const char *path) {
    const Output *expression = network_output(network, "expression");
    const bool good = expression != NULL && expression->length == EXPRESSIONS;
    if (!good)
        complain("%s: has no output expression of %d numbers.", path, EXPRESSIONS);
    return good;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: predict MODEL.tflite CROP.ppm...\n");
        return 2;
    }
    Network network = {0};
    bool good = network_open(&network, argv[1]) && reads_expressions(&network, argv[1]);
    if (good)
        for (int i = 2; i < argc; i++)
            good = predict(&network, argv[i]) && good;
    network_close(&network);
    return good ? 0 : 1;
}
