#include "network.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIGNATURE 0 /* an export has one: serving_default */

void complain(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("predict: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

/* For calls that fail only where the runtime or the memory does. */
static bool fine(LiteRtStatus status, const char *what) {
    if (status != 0)
        complain("LiteRT failed with status %d: %s.", status, what);
    return status == 0;
}

static bool readable(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        complain("%s: cannot be read: %s.", path, strerror(errno));
    else
        fclose(file);
    return file != NULL;
}

static bool open_environment(Network *network) {
    /* The CPU only, or LiteRT looks for GPU and NPU libraries as well; errors only, or it logs each step. */
    const LiteRtEnvOption options[2] = {
        {kLiteRtEnvOptionTagAutoRegisterAccelerators, {kLiteRtAnyTypeInt, {.int_value = kLiteRtHwAcceleratorCpu}}},
        {kLiteRtEnvOptionTagMinLoggerSeverity, {kLiteRtAnyTypeInt, {.int_value = kLiteRtLogSeverityError}}},
    };
    return fine(LiteRtCreateEnvironment(2, options, &network->environment), "no environment") &&
           fine(LiteRtCreateOptions(&network->options), "no options") &&
           fine(LiteRtSetOptionsHardwareAccelerators(network->options, kLiteRtHwAcceleratorCpu), "no CPU");
}

/* The signature holds the names of the inputs and outputs. */
static bool open_model(Network *network, const char *path, LiteRtSignature *signature) {
    size_t count = 0;
    if (LiteRtCreateModelFromFile(network->environment, path, &network->model) != 0) {
        complain("%s: is not a TFLite model, or a damaged one.", path);
        return false;
    }
    if (!fine(LiteRtGetNumModelSignatures(network->model, &count), "no signatures"))
        return false;
    if (count != 1) {
        complain("%s: has %zu signatures; an export of expnet_tf has one.", path, count);
        return false;
    }
    if (LiteRtCreateCompiledModel(network->environment, network->model, network->options, &network->compiled) != 0) {
        complain("%s: cannot be run by this LiteRT: it is damaged, or has operations that are not known here.", path);
        return false;
    }
    return fine(LiteRtGetModelSignature(network->model, SIGNATURE, signature), "no signature");
}

/* The one input: `image`, uint8 [B, S, S, 3]. B is free in an export; it is set to one face. */
static bool prepare_input(Network *network, const char *path, LiteRtSignature signature) {
    size_t count = 0;
    const char *name = "";
    LiteRtTensor tensor;
    LiteRtRankedTensorType type;
    LiteRtTensorBufferRequirements requirements;
    if (!fine(LiteRtGetNumSignatureInputs(signature, &count), "no inputs") ||
        (count == 1 && !fine(LiteRtGetSignatureInputName(signature, 0, &name), "an input has no name")))
        return false;
    if (count != 1) {
        complain("%s: has %zu inputs; one is expected, image.", path, count);
        return false;
    }
    if (strcmp(name, "image") != 0) {
        complain("%s: its input is called %s; image is expected.", path, name);
        return false;
    }
    if (!fine(LiteRtGetSignatureInputTensorByIndex(signature, 0, &tensor), "no tensor image") ||
        !fine(LiteRtGetRankedTensorType(tensor, &type), "image has no shape"))
        return false;
    int32_t *shape = type.layout.dimensions;
    if (type.element_type != kLiteRtElementTypeUInt8 || type.layout.rank != 4 || shape[1] < 1 || shape[1] > 4096 ||
        shape[2] != shape[1] || shape[3] != 3) {
        complain("%s: its input image is not uint8 [B, S, S, 3].", path);
        return false;
    }
    network->size = (size_t)shape[1];
    if (shape[0] != 1) {
        shape[0] = 1;
        if (!fine(LiteRtCompiledModelResizeInputTensor(network->compiled, SIGNATURE, 0, shape, 4), "no batch of 1"))
            return false;
    }
    return fine(LiteRtGetCompiledModelInputBufferRequirements(network->compiled, SIGNATURE, 0, &requirements), name) &&
           fine(LiteRtCreateManagedTensorBufferFromRequirements(network->environment, &type, requirements,
                                                                &network->image), name);
}

/* One output: float32 [1, length] now that the batch is one face. */
static bool prepare_output(Network *network, const char *path, LiteRtSignature signature, size_t index,
                           const LiteRtLayout *layout) {
    Output *output = &network->outputs[index];
    LiteRtTensor tensor;
    LiteRtRankedTensorType type;
    LiteRtTensorBufferRequirements requirements;
    if (!fine(LiteRtGetSignatureOutputName(signature, index, &output->name), "an output has no name") ||
        !fine(LiteRtGetSignatureOutputTensorByIndex(signature, index, &tensor), output->name) ||
        !fine(LiteRtGetRankedTensorType(tensor, &type), output->name))
        return false;
    type.layout = *layout; /* the tensor's own still has the free batch size */
    if (type.element_type != kLiteRtElementTypeFloat32 || layout->rank != 2 || layout->dimensions[0] != 1 ||
        layout->dimensions[1] < 1) {
        complain("%s: its output %s is not float32 [B, N].", path, output->name);
        return false;
    }
    output->length = (size_t)layout->dimensions[1];
    output->values = calloc(output->length, sizeof(float));
    network->num_outputs = index + 1;
    return fine(output->values == NULL, "no memory") &&
           fine(LiteRtGetCompiledModelOutputBufferRequirements(network->compiled, SIGNATURE, index, &requirements),
                output->name) &&
           fine(LiteRtCreateManagedTensorBufferFromRequirements(network->environment, &type, requirements,
                                                                &output->buffer), output->name);
}

bool network_open(Network *network, const char *path) {
    LiteRtSignature signature;
    LiteRtLayout layouts[MAX_OUTPUTS];
    size_t count = 0;
    if (!readable(path) || !open_environment(network) || !open_model(network, path, &signature) ||
        !prepare_input(network, path, signature) ||
        !fine(LiteRtGetNumSignatureOutputs(signature, &count), "no outputs"))
        return false;
    if (count > MAX_OUTPUTS) {
        complain("%s: has %zu outputs; at most %d are expected.", path, count, MAX_OUTPUTS);
        return false;
    }
    if (!fine(LiteRtGetCompiledModelOutputTensorLayouts(network->compiled, SIGNATURE, count, layouts, true), "shapes"))
        return false;
    for (size_t i = 0; i < count; i++)
        if (!prepare_output(network, path, signature, i, &layouts[i]))
            return false;
    return true;
}

bool network_run(Network *network, const unsigned char *pixels) {
    LiteRtTensorBuffer outputs[MAX_OUTPUTS];
    void *address;
    if (!fine(LiteRtLockTensorBuffer(network->image, &address, kLiteRtTensorBufferLockModeWrite), "input not writable"))
        return false;
    memcpy(address, pixels, network->size * network->size * 3);
    LiteRtUnlockTensorBuffer(network->image);
    for (size_t i = 0; i < network->num_outputs; i++)
        outputs[i] = network->outputs[i].buffer;
    if (!fine(LiteRtRunCompiledModel(network->compiled, SIGNATURE, 1, &network->image, network->num_outputs, outputs),
              "the network did not run"))
        return false;
    for (size_t i = 0; i < network->num_outputs; i++) {
        Output *output = &network->outputs[i];
        if (!fine(LiteRtLockTensorBuffer(output->buffer, &address, kLiteRtTensorBufferLockModeRead), output->name))
            return false;
        memcpy(output->values, address, output->length * sizeof(float));
        LiteRtUnlockTensorBuffer(output->buffer);
    }
    return true;
}

const Output *network_output(const Network *network, const char *name) {
    for (size_t i = 0; i < network->num_outputs; i++)
        if (strcmp(network->outputs[i].name, name) == 0)
            return &network->outputs[i];
    return NULL;
}

void network_close(Network *network) {
    for (size_t i = 0; i < network->num_outputs; i++) {
        free(network->outputs[i].values);
        if (network->outputs[i].buffer != NULL)
            LiteRtDestroyTensorBuffer(network->outputs[i].buffer);
    }
    if (network->image != NULL)
        LiteRtDestroyTensorBuffer(network->image);
    if (network->compiled != NULL)
        LiteRtDestroyCompiledModel(network->compiled);
    if (network->options != NULL)
        LiteRtDestroyOptions(network->options);
    if (network->model != NULL)
        LiteRtDestroyModel(network->model);
    if (network->environment != NULL)
        LiteRtDestroyEnvironment(network->environment);
    memset(network, 0, sizeof(*network));
}
