<?php
// A receiver of signed webhooks: answers 204 where the signature holds, 400 otherwise.
//
//   WEBHOOK_SECRET=whsec_... php -S 127.0.0.1:$PORT receiver.php

declare(strict_types=1);

const TOLERANCE = 5 * 60; // seconds

function genuine(string $key, string $id, string $timestamp, string $signatures, string $body): bool
{
    if ($key === '' || $id === '' || !preg_match('/^\d{1,12}$/D', $timestamp)) {
        return false;
    }
    if (abs(time() - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $mac = hash_hmac('sha256', "$id.$timestamp.$body", $key, true);
    $expected = 'v1,' . base64_encode($mac);
    // While a secret is being rotated there are two, and one that holds is enough.
    foreach (explode(' ', $signatures) as $given) {
        if (hash_equals($expected, $given)) {
            return true;
        }
    }
    return false;
}

function handle(string $id, mixed $event): void
{
    // The same id can come again: keep the ids that you have dealt with, and skip those.
    error_log($id . ' ' . json_encode($event));
}

$encoded = preg_replace('/^whsec_/', '', (string) getenv('WEBHOOK_SECRET'));
$key = (string) base64_decode($encoded, true);
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
$signatures = $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '';
$body = (string) file_get_contents('php://input'); // as it came: parsing is for later

if ($_SERVER['REQUEST_METHOD'] !== 'POST' || !genuine($key, $id, $timestamp, $signatures, $body)) {
    http_response_code(400);
    exit;
}
handle($id, json_decode($body, true)); // where this fails, it is sent again
http_response_code(204);
